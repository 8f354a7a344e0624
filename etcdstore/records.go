package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

const (
	// firstPage and maxPage are numbers of records. The first page is small, because the size of
	// the records isn't known yet. Small pages are slow, because etcd counts all remaining records
	// for each page.
	firstPage = 16
	maxPage   = 10_000
	// pageFactor limits how much larger the next page may be, because larger records may follow.
	pageFactor = 8
	// targetPage is the desired maximum size of a page in bytes. It must arrive within the
	// request timeout.
	targetPage = 4 << 20
)

// Snapshot implements [cluster.Engine]. Each page has a timeout of its own.
func (e *Engine) Snapshot(ctx context.Context, prefix string, yield func(cluster.Record) error) (int64, error) {
	from := e.prefix + prefix
	end := clientv3.GetPrefixRangeEnd(from)
	var revision int64
	for limit := firstPage; ; {
		page, err := e.page(ctx, from, end, revision, limit)
		switch {
		case status.Code(err) == codes.ResourceExhausted && limit > 1:
			// The page is larger than maxReceive.
			limit = max(1, limit/pageFactor)
			continue
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && limit > firstPage:
			// The page may be too large to arrive in time.
			limit = firstPage
			continue
		case is(err, rpctypes.ErrCompacted):
			return 0, fmt.Errorf("etcd (%s) was compacted while its keys were listed; list them again: %w",
				e.endpoints, err)
		case err != nil:
			return 0, err
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		size := 0
		for _, kv := range page.Kvs {
			size += len(kv.Key) + len(kv.Value)
			if err := yield(e.record(kv)); err != nil {
				return 0, err
			}
		}
		if !page.More || len(page.Kvs) == 0 {
			return revision, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		limit = min(maxPage, limit*pageFactor, max(1, len(page.Kvs)*targetPage/size))
	}
}

// page returns up to limit records as of the revision. Revision 0 is the current one.
func (e *Engine) page(ctx context.Context, from, end string, revision int64, limit int,
) (page *clientv3.GetResponse, err error) {
	err = e.call(ctx, idempotent, func(ctx context.Context) (err error) {
		page, err = e.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision),
			clientv3.WithLimit(int64(limit)), clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
		return err
	})
	return page, err
}

// Read implements [cluster.Engine].
func (e *Engine) Read(ctx context.Context, keys ...string) ([]cluster.Record, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var response *clientv3.TxnResponse
	err := e.call(ctx, idempotent, func(ctx context.Context) (err error) {
		response, err = e.client.Txn(ctx).Then(e.gets(keys)...).Commit()
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.records(keys, response)
}

func (e *Engine) gets(keys []string) []clientv3.Op {
	gets := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		gets[i] = clientv3.OpGet(e.prefix + key)
	}
	return gets
}

// records returns the results of a transaction that only gets records.
func (e *Engine) records(keys []string, response *clientv3.TxnResponse) ([]cluster.Record, error) {
	if len(response.Responses) != len(keys) {
		return nil, fmt.Errorf("etcd (%s) answered with %d records instead of %d", e.endpoints,
			len(response.Responses), len(keys))
	}
	records := make([]cluster.Record, len(keys))
	for i, key := range keys {
		records[i].Key = key
		if kvs := response.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			records[i] = e.record(kvs[0])
		}
	}
	return records, nil
}

// record returns the record for an existing key.
func (e *Engine) record(kv *mvccpb.KeyValue) cluster.Record {
	return cluster.Record{Key: e.relative(kv.Key), Value: value(kv), Revision: kv.ModRevision}
}

func (e *Engine) relative(key []byte) string { return strings.TrimPrefix(string(key), e.prefix) }

// value returns the value of an existing key. It is never nil.
func value(kv *mvccpb.KeyValue) []byte {
	if kv.Value == nil {
		return []byte{}
	}
	return kv.Value
}

// Commit implements [cluster.Engine].
func (e *Engine) Commit(ctx context.Context, conditions []cluster.Condition, writes []cluster.Write,
) (result cluster.Result, err error) {
	if size := size(conditions, writes); size > maxSend {
		return cluster.Result{}, fmt.Errorf("%w: the transaction has %d bytes, but the limit is %d",
			cluster.ErrNotCommitted, size, maxSend)
	}
	leases, err := e.grantFor(ctx, writes)
	if err != nil {
		e.revokeLater(slices.Collect(maps.Values(leases))...)
		return cluster.Result{}, notCommitted(err)
	}
	defer func() {
		// If the outcome is unknown, the records may exist and need their leases.
		if err == nil && !result.Committed || errors.Is(err, cluster.ErrNotCommitted) {
			e.revokeLater(slices.Collect(maps.Values(leases))...)
		}
	}()

	var compares []clientv3.Cmp
	var keys []string
	for _, condition := range conditions {
		compares = append(compares,
			clientv3.Compare(clientv3.ModRevision(e.prefix+condition.Key), "=", condition.Revision))
		keys = append(keys, condition.Key)
	}
	var ops []clientv3.Op
	for _, write := range writes {
		switch {
		case write.Value == nil:
			ops = append(ops, clientv3.OpDelete(e.prefix+write.Key))
		case write.TTL > 0:
			ops = append(ops, clientv3.OpPut(e.prefix+write.Key, string(write.Value),
				clientv3.WithLease(leases[seconds(write.TTL)])))
		default:
			ops = append(ops, clientv3.OpPut(e.prefix+write.Key, string(write.Value)))
		}
	}
	var response *clientv3.TxnResponse
	err = e.call(ctx, once, func(ctx context.Context) (err error) {
		response, err = e.client.Txn(ctx).If(compares...).Then(ops...).Else(e.gets(keys)...).Commit()
		return err
	})
	switch {
	case err != nil:
		return cluster.Result{}, err
	case response.Succeeded:
		return cluster.Result{Committed: true, Revision: response.Header.Revision}, nil
	}
	current, err := e.records(keys, response)
	return cluster.Result{Current: current}, err
}

// notCommitted wraps [cluster.ErrNotCommitted] around an error that occurred before the
// transaction was sent.
func notCommitted(err error) error {
	if errors.Is(err, cluster.ErrNotCommitted) {
		return err
	}
	return fmt.Errorf("%w: %w", cluster.ErrNotCommitted, err)
}

// size returns the approximate size of a transaction's request in bytes.
func size(conditions []cluster.Condition, writes []cluster.Write) int {
	const overhead = 150 // the prefix, which Else repeats, and the encoding
	size := 0
	for _, condition := range conditions {
		size += 2*len(condition.Key) + 2*overhead
	}
	for _, write := range writes {
		size += len(write.Key) + len(write.Value) + overhead
	}
	return size
}

// seconds rounds up to whole seconds.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// grantFor returns a lease for each TTL of the writes, in seconds. If it returns an error,
// it also returns the leases granted so far.
func (e *Engine) grantFor(ctx context.Context, writes []cluster.Write) (map[int64]clientv3.LeaseID, error) {
	leases := make(map[int64]clientv3.LeaseID)
	for _, write := range writes {
		ttl := seconds(write.TTL)
		if _, granted := leases[ttl]; granted || ttl <= 0 || write.Value == nil {
			continue
		}
		id, _, err := e.grant(ctx, ttl)
		if err != nil {
			return leases, err
		}
		leases[ttl] = id
	}
	return leases, nil
}
