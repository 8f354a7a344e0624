//go:build !linux

package etcdstore

import "net"

// limitUnacknowledged does nothing: the option exists only on Linux.
func limitUnacknowledged(*net.TCPConn) error { return nil }
