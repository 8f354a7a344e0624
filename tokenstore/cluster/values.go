package cluster

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

const (
	valuePrefix = "value/"
	// valuesKey is written with every value, so that Sync includes values.
	valuesKey = "values"
)

// values implements tokenstore.Values. Its memory is a copy of the shared store's values.
type values struct {
	tokenstore.MemoryValues
	backend *Backend
}

// Values implements tokenstore.Shared.
func (b *Backend) Values() tokenstore.Values { return &b.values }

// Put implements tokenstore.Values.
func (v *values) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b := v.backend
	_, err := v.commit(ctx, nil, []Write{
		{Key: valuePrefix + key, Value: b.seal.seal(valuePrefix+key, value), TTL: ttl}})
	return err
}

// Take implements tokenstore.Values.
func (v *values) Take(ctx context.Context, key string) ([]byte, error) {
	b := v.backend
	reading, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	records, err := b.engine.Read(reading, valuePrefix+key)
	if err != nil {
		return nil, b.unavailable("the shared store can't be read", err)
	}
	if records[0].Revision == 0 {
		return nil, nil
	}
	value, err := b.seal.open(valuePrefix+key, records[0].Value)
	if err != nil {
		return nil, err
	}
	taken, err := v.commit(ctx, []Condition{{records[0].Key, records[0].Revision}}, []Write{{Key: records[0].Key}})
	if err != nil || !taken {
		return nil, err
	}
	return value, nil
}

// Delete implements tokenstore.Values.
func (v *values) Delete(ctx context.Context, keys ...string) error {
	for len(keys) > 0 {
		n := min(len(keys), maxBatch)
		var writes []Write
		for _, key := range keys[:n] {
			writes = append(writes, Write{Key: valuePrefix + key})
		}
		if _, err := v.commit(ctx, nil, writes); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// commit makes a change and waits until this node has it. It reports false if a condition
// doesn't hold.
func (v *values) commit(ctx context.Context, conditions []Condition, writes []Write) (bool, error) {
	b := v.backend
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	result, err := b.engine.Commit(ctx, conditions, append(writes, Write{Key: valuesKey, Value: []byte{}}))
	if err != nil {
		return false, b.unavailable("the shared store didn't confirm the change", err)
	}
	if result.Committed {
		_ = b.seen.wait(ctx, result.Revision) // the change holds in any case
	}
	return result.Committed, nil
}

// openValue returns a value from its record, or nil if it was deleted or can't be read.
func (b *Backend) openValue(record Record) []byte {
	if record.Value == nil {
		return nil
	}
	value, err := b.seal.open(record.Key, record.Value)
	if err != nil {
		b.logger.Error("a record in the shared store can't be read", zap.String("key", record.Key), zap.Error(err))
		return nil
	}
	return value
}
