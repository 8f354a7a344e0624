package mollymawktest

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
)

// createBlock handles POST /api/block/create. The device is kept even if the data can't be
// written.
func (c *call) createBlock() { c.blockForm(true) }

// uploadBlock handles POST /api/block/upload.
func (c *call) uploadBlock() { c.blockForm(false) }

func (c *call) blockForm(create bool) {
	fields := []string{"albatross_instance", csrfCookie, "json_data"}
	c.streamForm("block_data", fields, nil, func(fields map[string]string, data io.Reader) {
		c.writeBlock(create, fields, data)
	})
}

// writeBlock creates a block if create is set, writes data to it, and responds.
func (c *call) writeBlock(create bool, fields map[string]string, data io.Reader) {
	instance, err := label(fields["albatross_instance"])
	if err != nil {
		c.say(http.StatusBadRequest, "Couldn't convert name to albatross instance "+err.Error())
		return
	}
	if !c.srv.hasInstance(instance) {
		c.say(http.StatusNotFound, "Couldn't find albatross instance with name "+instance)
		return
	}
	value, err := parseJSON(fields["json_data"])
	o, ok := value.(object)
	if err != nil || !ok {
		c.say(http.StatusBadRequest, "expected a dictionary")
		return
	}
	name, hasName := get[string](o, "block_name")
	size, hasSize := get[int64](o, "block_size")
	compressed, hasCompressed := get[bool](o, "block_compressed")
	if c.srv.options.Generation == Generation2025 && !create {
		hasSize = true // uploads ignore the size, which was optional in 2025
	}
	if !hasName || !hasSize || !hasCompressed {
		c.say(http.StatusBadRequest, "unexpected field. got "+escaped(encode(o)))
		return
	}
	if name, err = label(name); err != nil {
		c.say(http.StatusBadRequest, "Invalid block name: "+err.Error())
		return
	}
	if !c.checkCSRF(fields[csrfCookie]) {
		return
	}
	c.acts(Action{Instance: instance, Block: name})
	var b *block
	_, err = c.command(instance, func(d *domain) (string, error) {
		if create {
			if err := d.addBlock(name, size); err != nil {
				return "", err
			}
		}
		b, err = d.openBlock(name)
		return "", err
	})
	if err == nil {
		err = c.srv.fillBlock(b, data, compressed)
	}
	var unreachable unreachableError
	switch {
	case errors.Is(err, errUnfinished), errors.Is(err, errTooLarge):
		// send no response
	case errors.As(err, &unreachable):
		c.say(http.StatusInternalServerError, "an error with albatross. got "+err.Error())
	case err != nil:
		c.say(http.StatusBadRequest, "unexpected field. got "+err.Error())
	default:
		c.say(http.StatusOK, "set block device")
	}
}

// errTooLarge means that the data is larger than the device. Albatross then stops reading,
// so Mollymawk never finishes sending.
var errTooLarge = errors.New("the data exceeds the device")

// fillBlock writes data to a block as the data arrives, so the block is partly written
// until fillBlock returns.
func (s *Server) fillBlock(b *block, data io.Reader, compressed bool) error {
	const malformed = failureError("error writing to file descriptor")
	source := &upload{r: data}
	var plain io.Reader = source
	if compressed {
		z, err := zlib.NewReader(source)
		if err != nil {
			return source.orElse(malformed)
		}
		plain = z
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := plain.Read(buffer)
		s.mu.Lock()
		fits := int64(len(b.data)+n) <= b.bytes()
		if fits {
			b.data = append(b.data, buffer[:n]...)
		}
		s.mu.Unlock()
		switch {
		case !fits:
			return errTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return source.orElse(malformed)
		}
	}
}

// upload records read errors to distinguish them from decompression errors.
type upload struct {
	r   io.Reader
	err error
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = err
	}
	return n, err
}

func (u *upload) orElse(problem error) error {
	if u.err != nil {
		return errUnfinished
	}
	return problem
}

// deleteBlock handles POST /api/block/delete.
func (c *call) deleteBlock() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	name, ok1 := get[string](o, "block_name")
	instance, ok2 := get[string](o, "albatross_instance")
	if !ok1 || !ok2 {
		c.say(http.StatusBadRequest, "Couldn't find block name in json")
		return
	}
	instance, name, ok = c.blockLabels(instance, name)
	if !ok {
		return
	}
	c.acts(Action{Instance: instance, Block: name})
	c.sendResult(c.command(instance, func(d *domain) (string, error) { return d.removeBlock(name) }))
}

// blockLabels normalizes the names of an instance and a block. If a name is invalid or the
// instance is unknown, it responds and returns false.
func (c *call) blockLabels(givenInstance, givenName string) (instance, name string, ok bool) {
	instance, err := label(givenInstance)
	if err != nil {
		c.say(http.StatusBadRequest, "Couldn't convert instance name: "+err.Error())
		return "", "", false
	}
	if name, err = label(givenName); err != nil {
		c.say(http.StatusBadRequest, "Couldn't convert block name: "+err.Error())
		return "", "", false
	}
	if !c.srv.hasInstance(instance) {
		c.say(http.StatusNotFound, "Couldn't find albatross instance with name: "+instance)
		return "", "", false
	}
	return instance, name, true
}

// downloadBlock handles POST /api/block/download. It commits to status 200 before checking
// the names, so a refusal is a second response, which raises an exception. If albatross
// refuses, the response body is empty.
func (c *call) downloadBlock() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	instance, ok1 := get[string](o, "albatross_instance")
	name, ok2 := get[string](o, "block_name")
	level, ok3 := get[int64](o, "compression_level")
	if !ok1 || !ok2 || !ok3 {
		c.say(http.StatusBadRequest, "Couldn't find block name in json")
		return
	}
	out := c.stream(
		field{"Content-type", "application/octet-stream"},
		field{"Content-Disposition", `attachment; filename="` + name + `_dump"`},
	)
	if out == nil {
		return
	}
	instance, name, ok = c.blockLabels(instance, name)
	if !ok {
		return
	}
	c.acts(Action{Instance: instance, Block: name})
	var b block
	_, err := c.command(instance, func(d *domain) (string, error) {
		switch {
		case d.blocks[name] == nil:
			return "", failureError("dump block: not found")
		case d.inUse(name):
			return "", failureError("dump block: is in use")
		}
		b = *d.blocks[name]
		return "", nil
	})
	if err == nil {
		c.dump(out, &b, level)
		return
	}
	_ = out.write("") // the client may have disconnected
}

// maxCompressed is the size, in bytes, of the largest compressed download that Mollymawk
// can forward. Compressed data must arrive from albatross in one piece.
const maxCompressed = 4096

// dump sends a device's content. Only small compressed downloads arrive complete. In a
// larger one, Mollymawk misreads data as the length of the next piece and eventually
// crashes. A level that albatross's encoder doesn't support crashes albatross's daemon.
func (c *call) dump(out *stream, b *block, level int64) {
	switch {
	case level < 0 || level > zlib.BestCompression:
		c.crashAlbatross()
		_ = out.write("") // the client may have disconnected
		return
	case level > 0:
		var compressed bytes.Buffer
		z, err := zlib.NewWriterLevel(&compressed, int(level))
		if err == nil {
			err = errors.Join(b.copyTo(z), z.Close())
		}
		if err != nil || compressed.Len() > maxCompressed {
			c.crash()
			return
		}
		_ = out.write(compressed.String()) // the client may have disconnected
		return
	}
	size := b.bytes()
	switch short := c.srv.faults.Load().ShortDownload; {
	case short == NoAnswer:
		return
	case short == HeadOnly:
		size = 0
	case short == Random:
		size = rand.Int64N(size) //nolint:gosec // an injected fault, not a secret
	case short > 0:
		size = min(size, short)
	}
	_ = b.copyTo(&limitedWriter{streamWriter{out}, size})
}

func (b *block) copyTo(w io.Writer) error {
	if len(b.data) > 0 {
		if _, err := io.Copy(w, bytes.NewReader(b.data)); err != nil {
			return err
		}
	}
	zeros := make([]byte, 64<<10)
	for left := b.bytes() - int64(len(b.data)); left > 0; {
		n := min(left, int64(len(zeros)))
		if _, err := w.Write(zeros[:n]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// limitedWriter writes at most left more bytes and then fails with io.ErrShortWrite.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	short := int64(len(p)) > l.left
	if short {
		p = p[:l.left]
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	if err == nil && short {
		err = io.ErrShortWrite
	}
	return n, err
}

type streamWriter struct{ *stream }

func (w streamWriter) Write(p []byte) (int, error) {
	if err := w.write(string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
