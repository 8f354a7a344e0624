package etcdtest

import (
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Snapshot returns the path of a new snapshot of a running member.
func (c *Cluster) Snapshot(i int) string {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "snapshot.db")
	config := clientv3.Config{Endpoints: c.Endpoints()[i : i+1], Logger: zap.NewNop()}
	if _, err := snapshot.NewV3(zap.NewNop()).Save(c.t.Context(), config, path); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// Restore stops all members, replaces their data by a snapshot and starts them.
func (c *Cluster) Restore(path string) {
	c.t.Helper()
	c.Close()
	for i, config := range c.configs {
		if err := os.RemoveAll(config.Dir); err != nil {
			c.t.Fatal(err)
		}
		err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
			SnapshotPath: path, Name: config.Name, OutputDataDir: config.Dir,
			PeerURLs:       []string{config.AdvertisePeerUrls[0].String()},
			InitialCluster: config.InitialCluster, InitialClusterToken: config.InitialClusterToken,
		})
		if err != nil {
			c.t.Fatal(err)
		}
		c.start(i)
	}
	for i := range c.members {
		c.waitReady(i)
	}
}
