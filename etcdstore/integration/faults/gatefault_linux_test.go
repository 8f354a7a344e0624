package faults

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// machineFaults are the faults of a gate's machine.
var machineFaults = lane{
	{"fill a gate's disk", func(x *chaos, random *rand.Rand, wait func()) error {
		g := x.anyGate(random)
		if err := g.namespace.do(func() error { return fillDisk(g.data) }); err != nil {
			return err
		}
		wait()
		return g.namespace.do(func() error { return freeDisk(g.data) })
	}},
	{"step a gate's clock", func(x *chaos, random *rand.Rand, wait func()) error {
		g := x.anyGate(random)
		steps := []int{-86400, -3600, -30, -2, 2, 30, 3600, 86400}
		x.contact.stepped(g.number)
		if err := g.stepClock(steps[random.IntN(len(steps))]); err != nil {
			return err
		}
		wait()
		x.contact.stepped(g.number)
		return g.stepClock(0)
	}},
}

// contactFaults are the faults between gates and members.
var contactFaults = lane{
	{"cut off a gate", func(x *chaos, random *rand.Rand, wait func()) error {
		return x.cutGate(x.anyGate(random), true, true, x.members, wait)
	}},
	{"cut what a gate receives", func(x *chaos, random *rand.Rand, wait func()) error {
		return x.cutGate(x.anyGate(random), true, false, x.members, wait)
	}},
	{"cut what a gate sends", func(x *chaos, random *rand.Rand, wait func()) error {
		return x.cutGate(x.anyGate(random), false, true, x.members, wait)
	}},
	{"cut what a gate receives from one member", func(x *chaos, random *rand.Rand, wait func()) error {
		return x.cutGate(x.anyGate(random), true, false, []*member{x.anyMember(random)}, wait)
	}},
	{"cut what a gate sends to one member", func(x *chaos, random *rand.Rand, wait func()) error {
		return x.cutGate(x.anyGate(random), false, true, []*member{x.anyMember(random)}, wait)
	}},
	{"compact while a gate is cut off", func(x *chaos, random *rand.Rand, wait func()) error {
		return x.cutGate(x.anyGate(random), true, true, x.members, func() {
			wait()
			if err := x.compact(x.t.Context()); err != nil {
				x.t.Logf("compacting: %v", err) // a fault of a member can prevent it
			}
		})
	}},
}

// cutGate cuts what a gate receives from members, what it sends to them, or both.
func (x *chaos) cutGate(g *gate, receives, sends bool, members []*member, wait func()) error {
	defer x.contact.disturb(g.number)()
	var heals []func() error
	heal := func() (err error) {
		for _, one := range heals {
			err = errors.Join(err, one())
		}
		return err
	}
	cut := func(w *wall, senders ...string) error {
		one, err := w.cut(senders...)
		if err == nil {
			heals = append(heals, one)
		}
		return err
	}
	for _, m := range members {
		var err error
		if receives {
			err = cut(g.wall, m.ip)
		}
		if sends {
			err = errors.Join(err, cut(m.wall, g.ip))
		}
		if err != nil {
			return errors.Join(err, heal())
		}
	}
	wait()
	return heal()
}

const filling = "filling"

// fillDisk fills the disk that contains a directory with a file in the directory.
func fillDisk(dir string) error {
	name := filepath.Join(dir, filling)
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	for size := 1 << 16; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return errors.Join(err, file.Close(), os.Remove(name))
		}
	}
	return file.Close()
}

// freeDisk removes what fillDisk has written.
func freeDisk(dir string) error { return os.Remove(filepath.Join(dir, filling)) }
