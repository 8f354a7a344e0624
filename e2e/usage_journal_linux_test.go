package e2e

import (
	"errors"
	"os"
	"testing"
	"time"
)

const flippedBits = "flipped bits"

// journalDamage holds the ways in which the tests damage the journal.
var journalDamage = map[string]struct {
	damage func(path string) error
	// foreign is true if Caddy must not remove the file that has replaced the journal.
	foreign bool
}{
	"truncated to zero bytes": {damage: func(path string) error { return os.Truncate(path, 0) }},
	"truncated to half": {damage: func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()/2)
	}},
	"removed":   {damage: os.Remove},
	flippedBits: {damage: flipBits},
	"replaced by a copy": {damage: func(path string) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(path+".copy", content, 0o600), os.Rename(path+".copy", path))
	}},
	"replaced by a text file": {foreign: true, damage: func(path string) error {
		return errors.Join(os.WriteFile(path+".text", []byte("this is not a journal"), 0o600),
			os.Rename(path+".text", path))
	}},
	"replaced by a directory": {foreign: true, damage: func(path string) error {
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
	}},
}

// flipBits flips one bit in every 16th nonzero byte, except at the beginning of the file.
func flipBits(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var used []int
	for i, b := range content {
		if b != 0 {
			used = append(used, i)
		}
	}
	for i := len(used) / 4; i < len(used); i += 16 {
		content[used[i]] ^= 1
	}
	return os.WriteFile(path, content, 0o600)
}

// TestJournalDamaged damages the journal while Caddy has it open. Caddy must continue to
// count, warn that a kill would lose counts, and create a new journal as soon as it can. A
// clean stop must not lose anything.
func TestJournalDamaged(t *testing.T) {
	t.Parallel()
	for name, test := range journalDamage {
		if name == flippedBits {
			continue // a running Caddy doesn't read the journal
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaddy(t, nil)
			c.env["STORE"] = c.path("tokens.db")
			c.start(countingSite)
			tokens := makeCounted(c)[:10]
			damage := func(times int) {
				t.Helper()
				if err := test.damage(c.path(usageFile)); err != nil {
					t.Fatal(err)
				}
				countFor(c, tokens, 200*time.Millisecond)
				if test.foreign {
					c.waitForLog(logAtRisk, times)
				} else {
					c.waitForLog(logRenewed, times)
				}
				countFor(c, tokens, 200*time.Millisecond)
			}
			countFor(c, tokens, 200*time.Millisecond)
			damage(1)
			if test.foreign {
				if c.healthWarning() == "" {
					t.Error("healthz doesn't warn")
				}
				if err := os.Remove(c.path(usageFile)); err != nil {
					t.Fatal(err)
				}
				c.waitForLog(logSafe, 1)
			}
			c.eventually("healthz shows no warning", func() bool { return c.healthWarning() == "" })
			countFor(c, tokens, 200*time.Millisecond)
			c.kill()
			c.start(countingSite)
			checkUsage(c, tokens)

			countFor(c, tokens, 200*time.Millisecond)
			damage(2)
			c.stop()
			if test.foreign {
				if err := os.Remove(c.path(usageFile)); err != nil {
					t.Errorf("Caddy removed a file that isn't its own: %v", err)
				}
			}
			c.start(countingSite)
			checkUsage(c, tokens)
			if warning := c.healthWarning(); warning != "" {
				t.Errorf("healthz warns: %s", warning)
			}
		})
	}
}

// TestJournalDamagedBeforeStart damages the journal that a killed Caddy left behind. Caddy
// must start with all saved counts and a history that agrees with the totals, and log what is
// wrong. Once there is a journal again, new counts must survive a kill.
func TestJournalDamagedBeforeStart(t *testing.T) {
	t.Parallel()
	for name, test := range journalDamage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaddy(t, nil)
			c.env["STORE"] = c.path("tokens.db")
			c.start(countingSite)
			tokens := makeCounted(c)[:10]
			countFor(c, tokens, 200*time.Millisecond)
			c.stop()
			c.start(countingSite)
			checkUsage(c, tokens)                   // all counts are saved
			useFor(c, tokens, 200*time.Millisecond) // some of these counts are unsaved
			c.kill()
			if err := test.damage(c.path(usageFile)); err != nil {
				t.Fatal(err)
			}
			c.start(countingSite)
			checkUsageAfterLoss(c, tokens)
			switch {
			case test.foreign:
				c.waitForLog(usageFile, 1)
				c.eventually("healthz warns", func() bool { return c.healthWarning() != "" })
				countFor(c, tokens, 200*time.Millisecond)
				c.stop() // a clean stop loses nothing
				c.start(countingSite)
				checkUsage(c, tokens)
				c.eventually("healthz warns", func() bool { return c.healthWarning() != "" })
				if err := os.Remove(c.path(usageFile)); err != nil {
					t.Errorf("Caddy removed a file that isn't its own: %v", err)
				}
			case name == flippedBits:
				c.waitForLog("damaged", 1)
			}
			c.eventually("healthz shows no warning", func() bool { return c.healthWarning() == "" })
			countFor(c, tokens, 200*time.Millisecond)
			c.kill()
			c.start(countingSite)
			checkUsage(c, tokens)
		})
	}
}
