package bolt

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

var powerCuts = flag.Int("power-cuts", 1000, "number of disk states that TestPowerCut opens")

// diskSector is the number of bytes that a disk writes in full or not at all.
const diskSector = 512

// transaction holds the file's content before and after a transaction, together with models of
// the tokens.
type transaction struct {
	name          string
	before, after []byte
	// during is the model during the transaction, and done is the model afterwards.
	during, done *backendtest.Model
	// journals holds the journal's content at the end of the previous transaction and at the
	// end of this one.
	journals [2]journalImage
}

// journalImage maps offsets to a journal's sectors, except those that are all zeros.
type journalImage map[int][]byte

// TestPowerCut opens disk states that a power cut can leave behind. Any sector that a
// transaction writes before its first sync may or may not be on the disk; the meta page's
// sector is written only after the sync. Any sector of the journal may be missing. To test
// many states:
//
//	go test ./tokenstore/bolt -run TestPowerCut -power-cuts 100000 -timeout 1h -v
func TestPowerCut(t *testing.T) {
	t.Parallel()
	const workers = 2
	for _, pageSize := range []int{1024, 4096} {
		t.Run(fmt.Sprintf("page size %d", pageSize), func(t *testing.T) {
			t.Parallel()
			transactions := recordTransactions(t, pageSize)
			for worker := range workers {
				t.Run(fmt.Sprint(worker), func(t *testing.T) {
					t.Parallel()
					c := powerCut{path: newPath(t), Rand: rand.New(rand.NewPCG(uint64(pageSize), uint64(worker)))}
					for i := 0; i < *powerCuts/2/workers && !t.Failed(); i++ {
						c.try(t, transactions[i%len(transactions)])
					}
				})
			}
		})
	}
}

// recordTransactions makes changes to a small store and records the transactions.
func recordTransactions(t *testing.T, pageSize int) (transactions []*transaction) {
	t.Helper()
	path := newPath(t)
	makeStore(t, path, pageSize, storeFormat.createSchema)
	s, err := openModelStore(path, testTime)
	check(t, err)
	defer s.Close()
	random := rand.New(rand.NewPCG(5, uint64(pageSize)))
	m := new(backendtest.Model)
	for range 16 {
		m.Create(s, random)
	}
	for i := range 80 {
		for range random.IntN(8) {
			m.Use(s, m.Tokens[random.IntN(len(m.Tokens))], random)
		}
		tx := &transaction{before: readFile(t, path), during: cloneModel(t, m)}
		tx.journals[0] = journalOf(t, path)
		if i > 0 {
			tx.journals[0] = transactions[i-1].journals[1]
		}
		m.Report = func(*backendtest.ModelToken) { // after the first report, both outcomes are allowed
			if tx.name != "create" && tx.name != "flush" {
				tx.during, m.Report = cloneModel(t, m), nil
			}
		}
		for _, violation := range tx.do(s, m, random) {
			t.Errorf("%s: got violation %+v", tx.name, violation)
		}
		m.Report = nil
		tx.after, tx.done, tx.journals[1] = readFile(t, path), cloneModel(t, m), journalOf(t, path)
		transactions = append(transactions, tx)
	}
	return transactions
}

// do makes a random change.
func (tx *transaction) do(s *tokenstore.Store, m *backendtest.Model, random *rand.Rand) []backendtest.Violation {
	name := []string{"create", "flush", "revoke", "toggle", "rotate", "edit", "delete"}[random.IntN(7)]
	var live []*backendtest.ModelToken
	for _, t := range m.Tokens {
		if state := t.States[0]; !state.Deleted && !state.Revoked {
			live = append(live, t)
		}
	}
	if len(live) < 8 {
		name = "create"
	}
	tx.name = name
	t := live[random.IntN(len(live))]
	switch name {
	case "create":
		return m.Create(s, random)
	case "flush":
		return m.Flush(s)
	case "revoke":
		return m.Revoke(s, t)
	case "toggle":
		return m.Toggle(s, t)
	case "rotate":
		return m.Rotate(s, t, 0)
	case "edit":
		return m.Edit(s, t, token.Grants{"block:list"})
	}
	return m.Delete(s, t)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	check(t, err)
	return content
}

func journalOf(t *testing.T, path string) journalImage {
	t.Helper()
	content := readFile(t, path+journalSuffix)
	image := make(journalImage)
	zeros := make([]byte, diskSector)
	for offset := 0; offset < len(content); offset += diskSector {
		if sector := content[offset : offset+diskSector]; !bytes.Equal(sector, zeros) {
			image[offset] = sector
		}
	}
	return image
}

// powerCut opens random disk states.
type powerCut struct {
	*rand.Rand
	path string
}

// try opens a state that a power cut during or after the transaction can leave behind.
func (c *powerCut) try(t *testing.T, tx *transaction) {
	t.Helper()
	state, m, journals := tx.after, tx.done, slices.Clone(tx.journals[:])
	what := "after " + tx.name
	if c.IntN(8) > 0 {
		state, m, what = c.torn(tx), tx.during, "during "+tx.name
		// The change's number is written to the journal only after the store is on disk.
		journals[1] = maps.Clone(journals[1])
		journals[1][0] = journals[0][0]
	}
	check(t, os.WriteFile(c.path, state, fileMode))
	var found []backendtest.Violation
	if c.IntN(16) > 0 {
		found = checkAfterCut(c.path, m)
	} else {
		what += ", with a journal"
		found = c.checkJournal(t, journals, m)
	}
	for _, violation := range found {
		t.Errorf("%s: got violation %+v", what, violation)
	}
	if len(found) > 0 { // saved for inspection with -artifacts
		check(t, os.WriteFile(filepath.Join(t.ArtifactDir(), "state.db"), state, fileMode))
	}
}

// torn returns a possible disk state from before the transaction wrote its meta page.
func (c *powerCut) torn(tx *transaction) []byte {
	state := slices.Clone(tx.before)
	if c.IntN(2) == 0 { // the file has already grown
		state = append(state, make([]byte, max(0, len(tx.after)-len(state)))...)
	}
	keep := c.Float64()
	for offset := 0; offset < min(len(state), len(tx.after)); offset += diskSector {
		if !isMeta(tx.after, offset) && c.Float64() < keep {
			copy(state[offset:offset+diskSector], tx.after[offset:])
		}
	}
	return state
}

// isMeta reports whether a sector is the first sector of a meta page.
func isMeta(content []byte, offset int) bool {
	const header = 16
	pageSize := int(binary.NativeEndian.Uint32(content[header+8:]))
	return offset == 0 || offset == pageSize
}

// checkJournal is like checkAfterCut, but with a partially written journal.
func (c *powerCut) checkJournal(t *testing.T, journals []journalImage, m *backendtest.Model) []backendtest.Violation {
	t.Helper()
	content := make([]byte, 0)
	for _, image := range journals {
		for _, offset := range slices.Sorted(maps.Keys(image)) {
			if end := offset + diskSector; end > len(content) {
				content = append(content, make([]byte, end-len(content))...)
			}
			if offset == 0 || c.IntN(2) == 0 {
				copy(content[offset:], image[offset])
			}
		}
	}
	path := c.path + journalSuffix
	check(t, os.WriteFile(path, content, fileMode))
	defer os.Remove(path)
	s, err := openModelStore(c.path, testTime)
	if err != nil {
		return []backendtest.Violation{{Kind: backendtest.OtherError, Text: err.Error()}}
	}
	defer s.Close()
	return slices.DeleteFunc(m.Check(s),
		func(v backendtest.Violation) bool { return v.Kind == backendtest.UsageUnsaved })
}
