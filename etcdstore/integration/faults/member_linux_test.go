package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// A member is a member of the etcd cluster.
type member struct {
	*process
	ip   string
	wall *wall
	data string
}

// clientURL is where gates reach the member.
func (m *member) clientURL() string { return "http://" + net.JoinHostPort(m.ip, "2379") }

func (m *member) peerURL() string { return "http://" + net.JoinHostPort(m.ip, "2380") }

// peers returns the members' peer addresses in the form that etcd expects.
func peers(members []*member) string {
	var list []string
	for _, m := range members {
		list = append(list, m.name+"="+m.peerURL())
	}
	return strings.Join(list, ",")
}

func endpoints(members []*member) (list []string) {
	for _, m := range members {
		list = append(list, m.clientURL())
	}
	return list
}

// etcdClient returns a client for the given members. It connects from the clients' namespace,
// which faults don't cut.
func (c *cluster) etcdClient(members ...*member) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints(members), DialTimeout: 2 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn,
			error) {
			return c.clients.dial(ctx, "tcp4", strings.TrimPrefix(address, "http://"))
		})},
	})
}

// leader returns the member that leads the cluster, as the reachable members report.
func (c *cluster) leader(ctx context.Context) (*member, error) {
	client, err := c.etcdClient(c.members...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	var errs []error
	for _, m := range c.members {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		status, err := client.Status(limited, m.clientURL())
		cancel()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if status.Leader == status.Header.MemberId && status.Leader != 0 {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no member leads: %w", errors.Join(errs...))
}

// compact deletes the cluster's history up to its present revision, so that a watch which has
// fallen behind ends.
func (c *cluster) compact(ctx context.Context) error {
	client, err := c.etcdClient(c.members...)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	// The key isn't in the gates' prefix.
	put, err := client.Put(ctx, "faults/compacted", time.Now().String())
	if err != nil {
		return err
	}
	_, err = client.Compact(ctx, put.Header.Revision, clientv3.WithCompactPhysical())
	return err
}

// etcdHealthy waits until each member accepts writes.
func (c *cluster) etcdHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, m := range c.members {
		client, err := c.etcdClient(m)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		for {
			limited, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := client.Put(limited, "faults/healthy", m.name)
			cancel()
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s doesn't accept writes: %w", m.name, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// snapshot saves the cluster's data to a file.
func (c *cluster) snapshot(ctx context.Context, file string) error {
	client, err := c.etcdClient(c.members[0])
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	response, err := client.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = response.Close() }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(response)
	return errors.Join(err, out.Close())
}

// restore replaces the cluster by a snapshot, as an operator would: it stops all members,
// restores the snapshot on each of them and starts them again.
func (c *cluster) restore(ctx context.Context, file string) error {
	for _, m := range c.members {
		m.kill()
	}
	for _, m := range c.members {
		if err := os.Rename(m.data, m.data+".replaced-"+time.Now().Format("150405.000")); err != nil {
			return err
		}
		err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: m.name, OutputDataDir: m.data,
			OutputWALDir: filepath.Join(m.data, "member", "wal"),
			PeerURLs:     []string{m.peerURL()}, InitialCluster: peers(c.members), InitialClusterToken: "restored",
			SkipHashCheck: false,
		})
		if err != nil {
			return fmt.Errorf("restoring %s: %w", m.name, err)
		}
	}
	for _, m := range c.members {
		if err := m.start(); err != nil {
			return err
		}
	}
	return c.etcdHealthy(ctx)
}
