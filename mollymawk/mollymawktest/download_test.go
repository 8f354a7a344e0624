package mollymawktest

import (
	"bytes"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// randomText returns n bytes of text that compresses poorly. It always returns the same
// text.
func randomText(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + random.IntN(90))
	}
	return string(b)
}

func download(block string, level string) string {
	return `{"albatross_instance":"default","block_name":"` + block + `","compression_level":` + level + `}`
}

const (
	pathDownload = "/api/block/download"
	downloadHead = "HTTP/1.1 200 OK\r\nContent-type: application/octet-stream\r\n" +
		"Content-Disposition: attachment; filename=\"%_dump\""
)

// TestShortDownload checks that short downloads look like complete ones.
func TestShortDownload(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	data := []byte(randomText(1 << 20))
	s.AddBlock("alice", "default", "v1", 1, data)
	for short, lengths := range map[int64][2]int{
		0:         {1 << 20, 1 << 20},
		1:         {1, 1},
		4096:      {4096, 4096},
		1<<20 - 1: {1<<20 - 1, 1<<20 - 1},
		1 << 21:   {1 << 20, 1 << 20},
		HeadOnly:  {0, 0},
		Random:    {0, 1<<20 - 1},
	} {
		s.SetFaults(Faults{ShortDownload: short})
		for range 3 {
			a := postJSON(t, s, token, pathDownload, download("v1", "0"))
			if a.status != 200 || len(a.body) < lengths[0] || len(a.body) > lengths[1] ||
				!bytes.HasPrefix(data, []byte(a.body)) {
				t.Errorf("ShortDownload %d: got status %d and %d bytes, want %v bytes",
					short, a.status, len(a.body), lengths)
			}
		}
	}
	s.SetFaults(Faults{ShortDownload: NoAnswer})
	c := dial(t, s)
	c.send(message("POST", pathDownload, download("v1", "0"), bearer(token)))
	c.wantClosed()
	if s.Crashes() != 0 {
		t.Errorf("got %d crashes, want 0", s.Crashes())
	}
}

// TestRandomDownloads checks that the lengths of random downloads differ.
func TestRandomDownloads(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddBlock("alice", "default", "v1", 1, nil)
	s.SetFaults(Faults{ShortDownload: Random})
	lengths := make(map[int]bool)
	for range 10 {
		lengths[len(postJSON(t, s, token, pathDownload, download("v1", "0")).body)] = true
	}
	if len(lengths) < 2 {
		t.Errorf("all downloads had the same length: %v", lengths)
	}
}

// TestDownloadRefused checks that the response has status 200 and an empty body if
// albatross refuses a download.
func TestDownloadRefused(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddBlock("alice", "default", "used", 1, nil)
	s.AddUnikernel("alice", "default", "hello", "used")
	for name, test := range map[string]struct {
		block  string
		faults Faults
	}{
		"not found":   {"v1", Faults{}},
		"in use":      {"used", Faults{}},
		"unreachable": {"used", Faults{Unreachable: map[string]string{"default": "timeout"}}},
	} {
		s.SetFaults(test.faults)
		c := dial(t, s)
		c.send(message("POST", pathDownload, download(test.block, "0"), bearer(token)) + message("GET",
			"/style.css", ""))
		if a := c.read(); a.head != strings.Replace(downloadHead, "%", test.block, 1) || a.body != "" {
			t.Errorf("%s: got %s %q, want status 200 and an empty body", name, a.head, a.body)
		}
	}
	if s.Crashes() != 0 || s.AlbatrossCrashes() != 0 {
		t.Error("a refused download crashed the server")
	}
}

// TestCompressionLevels checks that levels 1 to 9 work for data that compresses to almost
// nothing, and that other levels crash albatross's daemon.
func TestCompressionLevels(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddBlock("alice", "default", "zeros", 3, []byte("x"))
	a := postJSON(t, s, token, pathDownload, download("zeros", "9"))
	z, err := zlib.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || len(got) != 3<<20 || got[0] != 'x' {
		t.Errorf("%d compressed bytes decompress to %d with error %v, want 3 MiB without an error",
			len(a.body), len(got), err)
	}
	for i, level := range []string{"10", "-1", "4611686018427387903"} {
		a := postJSON(t, s, token, pathDownload, download("zeros", level))
		if a.status != 200 || a.body != "" || s.AlbatrossCrashes() != i+1 {
			t.Errorf("level %s: got status %d, %d bytes and %d albatross crashes, want 200, 0 and %d",
				level, a.status, len(a.body), s.AlbatrossCrashes(), i+1)
		}
	}
	if s.Crashes() != 0 {
		t.Errorf("got %d crashes, want 0", s.Crashes())
	}
	wantEnvelope(t, postJSON(t, s, token, pathDownload, download("zeros", "1.0")), 400, "",
		`"Couldn't find block name in json"`)
	s.Reset()
	if s.AlbatrossCrashes() != 0 {
		t.Error("Reset didn't reset AlbatrossCrashes")
	}
}
