package command

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"
)

// tree creates files in a new directory. A name that ends in a slash creates a directory, and
// a name with an arrow creates a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, link)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// offlineMessage is what scan reports with --offline if it has found keys.
const offlineMessage = "API keys were not looked up, so their status, name and owner are unknown (--offline).\n"

// scanned runs scan without a server. It returns the findings, without the prefix "dir/", and
// the report about files that scan didn't read.
func scanned(t *testing.T, c *console, dir string, names ...string) (code int, found, left string) {
	t.Helper()
	args := []string{"scan", "--offline", "-o", "json"}
	for _, name := range names {
		if name != "-" && !strings.HasPrefix(name, "/") {
			name = dir + "/" + name // isn't cleaned, because a trailing slash matters
		}
		args = append(args, name)
	}
	got := runCommand(c, args...)
	var findings []finding
	if err := json.Unmarshal([]byte(got.out), &findings); err != nil {
		t.Fatalf("%+v: %v", got, err)
	}
	var where []string
	for _, f := range findings {
		where = append(where, fmt.Sprint(strings.TrimPrefix(f.Path, dir+"/"), ":", f.Line))
	}
	if strings.Contains(got.out+got.err, commandVector[17:]) {
		t.Error("the output contains a secret")
	}
	return got.code, strings.Join(where, " "), strings.Replace(got.err, offlineMessage, "", 1)
}

// TestCommandScanReadsOrSaysSo checks that scan reads all paths in its arguments, regardless
// of the file type. It must report every file that it didn't read and exit with 1, unless it
// found a token elsewhere.
func TestCommandScanReadsOrSaysSo(t *testing.T) {
	t.Parallel()
	outside := tree(t, map[string]string{"token": commandVector})
	for name, test := range map[string]struct {
		files map[string]string
		args  []string
		code  int
		found string
		left  []string // each on its own line
	}{
		"a file": {files: map[string]string{"a": commandVector}, args: []string{"a"}, code: 4,
			found: "a:1"},
		"a link to a file": {files: map[string]string{"a": commandVector, "l -> a": ""}, args: []string{"l"},
			code: 4, found: "l:1"},
		"a link to a link": {files: map[string]string{"a": commandVector, "k -> a": "", "l -> k": ""},
			args: []string{"l"}, code: 4, found: "l:1"},
		"a link to outside": {files: map[string]string{"l -> " + outside: ""}, args: []string{"l"}, code: 4,
			found: "l/token:1"},
		"a link to a tree": {files: map[string]string{"releases/7/b/a": commandVector,
			"current -> releases/7": ""}, args: []string{"current"}, code: 4, found: "current/b/a:1"},
		"a link and a slash": {files: map[string]string{"releases/7/a": commandVector,
			"current -> releases/7": ""}, args: []string{"current/"}, code: 4, found: "current/a:1"},
		"a link below a link": {files: map[string]string{"r/7/a": commandVector, "r/7/b -> a": "", "l -> r/7": ""},
			args: []string{"l"}, code: 4, found: "l/a:1"},
		"a clean link": {files: map[string]string{"a": "x", "l -> a": ""}, args: []string{"l"}},
		"a file named -": {files: map[string]string{"-": commandVector}, args: []string{"./-"}, code: 4,
			found: "./-:1"},
		"binary": {files: map[string]string{"a": "\x00\xff\n\x01" + commandVector + "\xfe"}, args: []string{"."},
			code: 4, found: "a:2"},

		"links within": {files: map[string]string{"d/a": "x", "d/e/l -> ../a": "", "d/k -> e": "",
			"d/up -> ..": "", "d/self -> .": ""}, args: []string{"."}},
		"a cyclic tree": {files: map[string]string{"d/a": commandVector, "d/e/up -> ../../d": ""},
			args: []string{"d"}, code: 4, found: "d/a:1"},
		"a link between names": {files: map[string]string{"d/l -> ../e/a": "", "e/a": "x"},
			args: []string{"d", "e"}},
		"a link to a named file": {files: map[string]string{"d/l -> ../e/a": "", "e/a": "x"},
			args: []string{"e/a", "d"}},
		"a link out of the tree": {files: map[string]string{"d/l -> " + outside + "/token": ""}, args: []string{"d"},
			code: 1, left: []string{"d/l"}},
		"a tree out of the tree": {files: map[string]string{"d/l -> " + outside: "", "d/k -> l": ""},
			args: []string{"d"}, code: 1, left: []string{"d/k", "d/l"}},
		"a link to a namesake": {files: map[string]string{"d/l -> ../d2/a": "", "d2/a": "x"}, args: []string{"d"},
			code: 1, left: []string{"d/l"}},
		"a link to the parent": {files: map[string]string{"d/l -> ..": "", "a": commandVector}, args: []string{"d"},
			code: 1, left: []string{"d/l"}},
		"a link to nothing below": {files: map[string]string{"d/l -> nothing": ""}, args: []string{"d"}, code: 1,
			left: []string{"d/l"}},
		"cyclic links below": {files: map[string]string{"d/k -> l": "", "d/l -> k": ""}, args: []string{"d"},
			code: 1, left: []string{"d/k", "d/l"}},
		"a name with a line break": {files: map[string]string{"d/a\nb -> nothing": ""}, args: []string{"d"}, code: 1,
			left: []string{`d/a\u{a}b`}},

		"a named link to nothing": {files: map[string]string{"l -> nothing": ""}, args: []string{"l"}, code: 1,
			left: []string{"/l: no such file"}},
		"a named cycle": {files: map[string]string{"k -> l": "", "l -> k": ""}, args: []string{"l"}, code: 1,
			left: []string{"/l: too many"}},
		"nothing": {args: []string{"nothing"}, code: 2, left: []string{"nothing: no such file"}},
		"nothing, and a token": {files: map[string]string{"a": commandVector}, args: []string{"nothing", "a"}, code: 4,
			found: "a:1", left: []string{"nothing: no such file"}},
		"nothing and unread": {files: map[string]string{"l -> nothing": ""}, args: []string{"nothing", "l"}, code: 2,
			left: []string{"nothing: no such file", "/l: no such file"}},
		"a file as a directory": {files: map[string]string{"a": "x"}, args: []string{"a/b"}, code: 1,
			left: []string{"a/b: not a directory"}},
		"unread, and a token": {files: map[string]string{"l -> nothing": "", "z": commandVector}, args: []string{"."},
			code: 4, found: "z:1", left: []string{"l"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, test.files)
			code, found, left := scanned(t, nil, dir, test.args...)
			if code != test.code || found != test.found {
				t.Errorf("got exit code %d, found %q; want %d, %q\n%s", code, found, test.code, test.found, left)
			}
			lines := 0
			for line := range strings.Lines(left) {
				if strings.HasPrefix(line, "not read: ") {
					if lines >= len(test.left) || !strings.Contains(line, test.left[lines]) {
						t.Errorf("scan reported %q, want one of %q", line, test.left)
					}
					lines++
				}
			}
			if lines != len(test.left) {
				t.Errorf("scan reported %d unread files, want %q:\n%s", lines, test.left, left)
			}
			if clean := strings.Contains(left, "no API keys found"); clean && code != 0 {
				t.Errorf("scan reported no keys although it didn't read everything: %s", left)
			}
		})
	}
	if got := runCommand(nil, "scan", "--offline", tree(t, map[string]string{"a -> nothing": ""})); strings.Contains(
		got.err, "no API keys found") || strings.Count(got.err, "Error") != 1 {
		t.Errorf("scan: got unexpected outcome %+v", got)
	}
}

// TestCommandScanBrokenRead checks that scan doesn't report input as clean if it couldn't read
// all of it.
func TestCommandScanBrokenRead(t *testing.T) {
	t.Parallel()
	broken := func(before string) *console {
		return &console{in: io.MultiReader(strings.NewReader(before),
			iotest.ErrReader(fmt.Errorf("the disk is on fire")))}
	}
	for before, want := range map[string]int{"": 1, "x\n": 1, strings.Repeat("x", 3*scanBuffer): 1, commandVector: 4} {
		if code, _, left := scanned(t, broken(before), "", "-"); code != want ||
			!strings.Contains(left, "not read: -") || !strings.Contains(left, "on fire") {
			t.Errorf("read error after %d bytes: got exit code %d, want %d: %s", len(before), code, want, left)
		}
	}
	// scan must find tokens that span several small reads.
	if code, found, _ := scanned(t,
		&console{in: iotest.OneByteReader(strings.NewReader("\n" + commandVector + "\n\n" + commandVector))}, "",
		"-"); code != 4 || found != "-:2 -:4" {
		t.Errorf("reading byte by byte: got exit code %d, found %q", code, found)
	}
}

// remover is a writer that removes a file on each write.
type remover string

func (r remover) Write(text []byte) (int, error) { return len(text), os.RemoveAll(string(r)) }

// TestCommandScanDisappearing checks that scan reports files that disappear before it reads
// them.
func TestCommandScanDisappearing(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"a file":      {"a": commandVector, "b": commandVector},
		"a directory": {"a": commandVector, "b/c": commandVector},
		"a link":      {"a": commandVector, "b -> a": ""},
	} {
		dir := tree(t, files)
		gone := filepath.Join(dir, "b")
		got := runCommand(&console{out: remover(gone)}, "scan", "--offline", "-o", "id", dir)
		if got.code != exitRefused || strings.Count(got.out, "\n") != 1 || !strings.HasPrefix(got.err, "not read: ") ||
			!strings.Contains(got.err, gone) {
			t.Errorf("%s: got unexpected outcome %+v", name, got)
		}
	}
}

// TestCommandScanEncodings checks that scan finds tokens in UTF-16 and UTF-32 at any offset.
func TestCommandScanEncodings(t *testing.T) {
	t.Parallel()
	files, want := map[string]string{}, []string{}
	for name, encode := range encodings {
		for shift := range 4 {
			width := len(encode("xx")) - len(encode("x"))
			for _, length := range []int{0, 1, scanBuffer/width - 20} { // the last one crosses a boundary
				file := fmt.Sprint(name, " ", shift, " ", length)
				files[file] = strings.Repeat("\x00", shift) +
					encode("é\n"+strings.Repeat("x", length)+commandVector+"\n")
				want = append(want, file+":2")
			}
		}
	}
	dir := tree(t, files)
	code, found, left := scanned(t, nil, dir, ".")
	for _, location := range want {
		if !strings.Contains(found, location) {
			t.Errorf("scan didn't find the token at %s", location)
		}
	}
	if code != 4 || left != "" || strings.Count(found, ":") != len(want) {
		t.Errorf("got exit code %d, found %d tokens, want %d\n%s", code, strings.Count(found, ":"), len(want), left)
	}
	// The tokens are surrounded by other text or follow one another directly.
	token := commandVector
	for text, lines := range map[string]string{
		"key=" + encodeUTF16(binary.LittleEndian, token) + token + encodeUTF16(binary.BigEndian, token): "-:1 -:1 -:1",
		"x" + encodeUTF16(binary.BigEndian, "\n"+token+"\n"+token):                                      "-:2 -:3",
		token + token: "-:1 -:1",
		encodeUTF16(binary.LittleEndian, token)[:2*len(token)-1]:   "-:1",
		encodeUTF16(binary.LittleEndian, token[:len(token)-1]):     "",
		encodeUTF16(binary.LittleEndian, "\ufeffa\r\nb\r\n"+token): "-:3",
		encodeUTF16(binary.BigEndian, "\ufeffa\r\nb\r\n"+token):    "-:3",
		// These characters contain a byte that looks like a line break.
		encodeUTF16(binary.LittleEndian, "\ufeff\u0a05\u010a\u0a0a\n"+token): "-:2",
		encodeUTF16(binary.BigEndian, "\ufeff\u0a05\u010a\u0a0a\n"+token):    "-:2",
	} {
		for _, in := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)),
			iotest.DataErrReader(strings.NewReader(text))} {
			if _, found, _ := scanned(t, &console{in: in}, "", "-"); found != lines {
				t.Errorf("%q: found %q, want %q", strings.ReplaceAll(text, token, "TOKEN"), found, lines)
			}
		}
	}
}

// TestCommandScanOverlap checks that scan finds both of two overlapping tokens.
func TestCommandScanOverlap(t *testing.T) {
	t.Parallel()
	first := ""
	for n := 0; first == ""; n++ {
		secret := fmt.Sprintf("%032d", n)
		if text := withCheck("mmk_000000000000_" + secret); strings.HasSuffix(text, "mmk") ||
			strings.HasSuffix(text, "mma") {
			first = text
		}
	}
	second := withCheck(first[len(first)-3:] + "_111111111111_" + strings.Repeat("0", 32))
	if _, found, _ := scanned(t, &console{in: strings.NewReader(first + second[3:])}, "", "-"); found != "-:1 -:1" {
		t.Errorf("found %q, want both tokens", found)
	}
}

// withCheck appends the checksum to a token that lacks one.
func withCheck(text string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	check := make([]byte, 6)
	sum := crc32.ChecksumIEEE([]byte(text))
	for i := range check {
		check[len(check)-1-i] = digits[sum%62]
		sum /= 62
	}
	return text + string(check)
}

// TestCommandScanMemory checks that scanning a large text needs only a few MiB of memory.
func TestCommandScanMemory(t *testing.T) { // not parallel: it measures memory
	// Collect garbage often, so that the heap grows only as much as scan requires.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	const size = 128 << 20
	for name, text := range map[string]string{"letters": "x", "UTF-16": "x\x00"} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		in := io.LimitReader(repeating(strings.Repeat(text, 1<<15)), size)
		if code, found, left := scanned(t, &console{in: in}, "", "-"); code != 0 || found != "" {
			t.Errorf("%s: got exit code %d, found %q: %s", name, code, found, left)
		}
		runtime.ReadMemStats(&after)
		// Allow for garbage that hasn't been collected yet.
		if held := int64(after.HeapSys) - int64(before.HeapSys); held > 64<<20 {
			t.Errorf("%s: the heap grew by %d MiB, want only a few", name, held>>20)
		}
	}
}

// repeating is a reader that repeats the same text endlessly.
type repeating string

func (r repeating) Read(into []byte) (int, error) { return copy(into, r), nil }

// TestCommandScan checks that scan finds tokens anywhere in files and looks them up on the
// server.
func TestCommandScan(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "leaked")
	gone, revoked := s.create(t, "--name", "gone")
	s.run("revoke", gone, "--yes")
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("empty", "")
	write("config.yaml", "a: 1\ntoken: "+secret+"\nb: 2\n")
	write("deep/binary", strings.Repeat("\x00\n", 10)+revoked+"\x00"+commandVector)
	// One token spans two reads.
	write("large", strings.Repeat("x", scanBuffer-20)+"\n"+secret+strings.Repeat("\n", scanBuffer)+secret)
	if err := os.Symlink(filepath.Join(dir, "config.yaml"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got := s.run("scan", dir, "-o", "json")
	var findings []finding
	if err := json.Unmarshal([]byte(got.out), &findings); err != nil || got.code != exitRefused {
		t.Fatalf("scan: got unexpected outcome %+v", got)
	}
	var found []string
	for _, f := range findings {
		name, _ := filepath.Rel(dir, f.Path)
		found = append(found, fmt.Sprint(name, ":", f.Line, " ", f.ID, " ", f.Status))
	}
	want := []string{
		"config.yaml:2 " + id + " active",
		"deep/binary:11 " + gone + " revoked", "deep/binary:11 4fQ9Zt2LkVb7 unknown",
		"large:2 " + id + " active", fmt.Sprint("large:", scanBuffer+2, " ", id, " active"),
	}
	if strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
	for _, text := range []string{secret, revoked, commandVector} {
		if strings.Contains(got.out+got.err, text[17:]) {
			t.Error("the output contains a secret")
		}
	}
	in := func(text string, args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(text)}, append([]string{"scan", "-"}, args...)...)
	}
	if got := in("x "+secret, "--offline"); got.code != exitRefused || !strings.Contains(got.out, "mmk_"+id+"_…") ||
		!strings.Contains(got.out, "unchecked") {
		t.Errorf("scan: got unexpected outcome %+v", got)
	}
	if got := in("x "+secret, "--offline", "-o", "id"); got.out != id+"\n" {
		t.Errorf("scan: got unexpected outcome %+v", got)
	}
	for _, clean := range []string{"", "nothing", secret[:54], "xy" + secret[2:]} {
		if got := in(clean, "--offline"); got.code != exitOK || got.out != "" || got.err != "no API keys found\n" {
			t.Errorf("scan: got unexpected outcome %+v", got)
		}
	}
	// Without a server, scan still shows its findings and doesn't report the files as clean.
	if got := in(secret, "--address", "127.0.0.1:1"); got.code != exitRefused ||
		!strings.Contains(got.out, "unchecked") || !strings.Contains(got.err, "not looked up") {
		t.Errorf("scan: got unexpected outcome %+v", got)
	}
}
