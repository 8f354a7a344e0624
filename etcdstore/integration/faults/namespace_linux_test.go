package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A namespace is a network namespace and a mount namespace. It has no name and no file in the
// file system: the kernel removes it once the goroutine that created it and all processes in it
// have ended. Runs therefore can't disturb each other, and a killed run leaves nothing behind.
type namespace struct {
	// handle refers to the namespace. Sockets that are open in it keep it alive too.
	handle *os.File
	calls  chan func()
}

// newNamespace creates a namespace whose loopback interface is up. Its thread ends with close.
func newNamespace() (*namespace, error) {
	n := &namespace{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		// The thread stays in the namespace, so it must never run other goroutines. It ends
		// when this goroutine returns without unlocking it.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS)
		if err == nil {
			// Mounts in the namespace must not appear outside.
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			n.handle, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		}
		ready <- err
		if err != nil {
			return
		}
		for call := range n.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("creating a namespace: %w", err)
	}
	return n, n.do(func() error { return linkUp("lo") })
}

// do calls f on the namespace's thread. Processes that f starts run in the namespace, and f sees
// the file systems that are mounted there.
func (n *namespace) do(f func() error) error {
	result := make(chan error)
	n.calls <- func() { result <- f() }
	return <-result
}

// close ends the thread. Processes that the thread has started with Pdeathsig get their
// signal.
func (n *namespace) close() {
	close(n.calls)
	_ = n.handle.Close()
}

// enter calls f on a thread in the network namespace. Unlike with do, f can block for long.
func (n *namespace) enter(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := unix.Setns(int(n.handle.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("entering a network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// dial connects to an address from within the namespace.
func (n *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.enter(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// listen listens on an address in the namespace.
func (n *namespace) listen(address string) (listener net.Listener, err error) {
	err = n.enter(func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	return listener, err
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// network is a bridge that joins several namespaces.
type network struct {
	bridge *namespace
	nodes  []*namespace
}

const bridgeName = "bridge"

func newNetwork() (*network, error) {
	bridge, err := newNamespace()
	if err != nil {
		return nil, err
	}
	err = bridge.do(func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = bridgeName
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
			return err
		}
		return linkUp(bridgeName)
	})
	if err != nil {
		bridge.close()
		return nil, fmt.Errorf("creating a bridge: %w", err)
	}
	return &network{bridge: bridge}, nil
}

// join creates a namespace with the given IPv4 address and connects it to the bridge.
func (w *network) join(ip string) (*namespace, error) {
	n, err := newNamespace()
	if err != nil {
		return nil, err
	}
	port := fmt.Sprintf("port%d", len(w.nodes))
	w.nodes = append(w.nodes, n)
	err = w.bridge.do(func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = port
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(n.handle.Fd())})
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		return nil, fmt.Errorf("connecting %s to the bridge: %w", ip, err)
	}
	err = n.do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		address, err := netlink.ParseAddr(ip + "/24")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(link, address), netlink.LinkSetUp(link))
	})
	if err != nil {
		return nil, fmt.Errorf("setting the address %s: %w", ip, err)
	}
	return n, nil
}

func (w *network) close() {
	for _, n := range w.nodes {
		n.close()
	}
	w.bridge.close()
}

// startNetwork creates a network that exists until the test ends. It skips the test if the
// kernel doesn't permit that. In CI, it fails the test instead, so that a run without the
// right can't pass unnoticed.
func startNetwork(t *testing.T) *network {
	t.Helper()
	w, err := newNetwork()
	switch {
	case err == nil:
	case os.Getenv("CI") == "" && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)):
		t.Skipf("this test needs root: %v", err)
	default:
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}
