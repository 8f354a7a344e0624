package e2e

import (
	"errors"
	"os"
	"testing"
	"time"
)

const flippedBits = "flipped bits"

// usageHarms is what may happen to the journal.
var usageHarms = map[string]struct {
	harm func(path string) error
	// foreign is true if Caddy must not remove what is there then.
	foreign bool
}{
	"cut to nothing": {harm: func(path string) error { return os.Truncate(path, 0) }},
	"cut in half": {harm: func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()/2)
	}},
	"removed":   {harm: os.Remove},
	flippedBits: {harm: flipBits},
	"replaced by a copy": {harm: func(path string) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(path+".copy", content, 0o600), os.Rename(path+".copy", path))
	}},
	"replaced by a letter": {foreign: true, harm: func(path string) error {
		return errors.Join(os.WriteFile(path+".letter", []byte("this is somebody's letter"), 0o600),
			os.Rename(path+".letter", path))
	}},
	"replaced by a directory": {foreign: true, harm: func(path string) error {
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
	}},
}

// flipBits flips a bit in one of 16 bytes that aren't zero, but not at the beginning.
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

// TestUsageFileHarmed harms the journal while Caddy has it open. Caddy continues to count,
// warns that a kill would lose counts, and creates a new journal when it can. A clean
// stop loses nothing.
func TestUsageFileHarmed(t *testing.T) {
	t.Parallel()
	for name, test := range usageHarms {
		if name == flippedBits {
			continue // Caddy doesn't read it while it runs
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaddy(t, nil)
			c.env["STORE"] = c.path("tokens.db")
			c.start(countingSite)
			tokens := makeCounted(c)[:10]
			harm := func(times int) {
				t.Helper()
				if err := test.harm(c.path(usageFile)); err != nil {
					t.Fatal(err)
				}
				countFor(c, tokens, 200*time.Millisecond)
				if test.foreign {
					c.says(saysAtRisk, times)
				} else {
					c.says(saysRenewed, times)
				}
				countFor(c, tokens, 200*time.Millisecond)
			}
			countFor(c, tokens, 200*time.Millisecond)
			harm(1)
			if test.foreign {
				if c.healthWarning() == "" {
					t.Error("healthz doesn't warn")
				}
				if err := os.Remove(c.path(usageFile)); err != nil {
					t.Fatal(err)
				}
				c.says(saysSafe, 1)
			}
			c.eventually("healthz is content", func() bool { return c.healthWarning() == "" })
			countFor(c, tokens, 200*time.Millisecond)
			c.kill()
			c.start(countingSite)
			holds(c, tokens)

			countFor(c, tokens, 200*time.Millisecond)
			harm(2)
			c.stop()
			if test.foreign {
				if err := os.Remove(c.path(usageFile)); err != nil {
					t.Errorf("Caddy has removed what isn't its own: %v", err)
				}
			}
			c.start(countingSite)
			holds(c, tokens)
			if warning := c.healthWarning(); warning != "" {
				t.Errorf("healthz warns: %s", warning)
			}
		})
	}
}

// TestUsageFileHarmedBefore harms the journal that a killed Caddy has left. Caddy starts
// with all saved counts and a history that agrees with the totals, and logs what is
// wrong. New counts survive a kill as soon as there is a journal again.
func TestUsageFileHarmedBefore(t *testing.T) {
	t.Parallel()
	for name, test := range usageHarms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaddy(t, nil)
			c.env["STORE"] = c.path("tokens.db")
			c.start(countingSite)
			tokens := makeCounted(c)[:10]
			countFor(c, tokens, 200*time.Millisecond)
			c.stop()
			c.start(countingSite)
			holds(c, tokens)                        // all that is saved
			useFor(c, tokens, 200*time.Millisecond) // some that isn't
			c.kill()
			if err := test.harm(c.path(usageFile)); err != nil {
				t.Fatal(err)
			}
			c.start(countingSite)
			settle(c, tokens)
			switch {
			case test.foreign:
				c.says(usageFile, 1)
				c.eventually("healthz warns", func() bool { return c.healthWarning() != "" })
				countFor(c, tokens, 200*time.Millisecond)
				c.stop() // loses nothing
				c.start(countingSite)
				holds(c, tokens)
				c.eventually("healthz warns", func() bool { return c.healthWarning() != "" })
				if err := os.Remove(c.path(usageFile)); err != nil {
					t.Errorf("Caddy has removed what isn't its own: %v", err)
				}
			case name == flippedBits:
				c.says("damaged", 1)
			}
			c.eventually("healthz is content", func() bool { return c.healthWarning() == "" })
			countFor(c, tokens, 200*time.Millisecond)
			c.kill()
			c.start(countingSite)
			holds(c, tokens)
		})
	}
}
