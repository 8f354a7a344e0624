package etcdstore

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged makes the kernel close a connection if the peer doesn't acknowledge data
// for keepAliveTimeout. It isn't used while connecting, because DialTimeout may be longer.
func limitUnacknowledged(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(keepAliveTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("setting TCP_USER_TIMEOUT: %w", failed)
	}
	return nil
}
