package cluster

import (
	"context"

	"go.uber.org/zap"
)

// During an upgrade, nodes of two versions share the store. A newer version may only write records
// that the older ones can read. The store's description therefore says which version its records
// have, and it is raised only once all live nodes know the new version. A node that doesn't know
// the version doesn't follow the store.

// raiseSchema raises the version of the store's records if all live nodes know a newer one.
func (b *Backend) raiseSchema(ctx context.Context) {
	newest := b.options.Schema
	if int(b.schema.Load()) >= newest || !b.nodes.allKnow(newest) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	records, err := b.engine.Read(ctx, storeKey)
	if err != nil || records[0].Revision == 0 {
		return // the next check tries again
	}
	d, err := b.describe(records[0].Value)
	if err != nil || d.Schema >= newest {
		return
	}
	d.Schema = newest
	result, err := b.engine.Commit(ctx, []Condition{{storeKey, records[0].Revision}},
		[]Write{{Key: storeKey, Value: d.encode(b.seal)}})
	if err == nil && result.Committed {
		b.logger.Info("raised the schema version of the shared store", zap.Int("schema", newest))
	}
}
