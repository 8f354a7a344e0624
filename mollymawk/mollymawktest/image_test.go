package mollymawktest

import (
	"bytes"
	"testing"
)

// TestImage checks that Image's devices can be read back in order, and that no truncated
// image is accepted.
func TestImage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		image []byte
		want  string
	}{
		"devices": {Image(Manifest{Networks: []string{"a", "b"}, Blocks: []string{"c"}}, nil),
			`net "a", net "b", block "c"`},
		"large": {Image(Manifest{Blocks: []string{"c"}}, bytes.Repeat([]byte("content"), 200000)), `block "c"`},
	} {
		var f imageFile
		for i := 0; i < len(test.image); i += 1000 {
			_, _ = f.Write(test.image[i:min(len(test.image), i+1000)])
		}
		m, err := f.manifest()
		if err != nil || m.String() != test.want {
			t.Errorf("%s: got %v and error %v, want %s", name, m, err, test.want)
		}
		// Truncated images are refused.
		for _, n := range []int{0, 1, 4, 63, 64, 65, 300, len(test.image) / 2, len(test.image) - 65,
			len(test.image) - 1} {
			var f imageFile
			_, _ = f.Write(test.image[:n])
			if m, err := f.manifest(); err == nil {
				t.Errorf("%s: the first %d of %d bytes were accepted as %v, want an error", name, n, len(test.image), m)
			}
		}
	}
}
