package etcdstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// TestHandle checks that events are grouped into commits, whatever responses they come in, and
// that repeated and late events are dropped.
func TestHandle(t *testing.T) {
	t.Parallel()
	var got []string
	w := &watch{
		engine: &Engine{prefix: "/p/", endpoints: "http://a"},
		last:   10,
		yield: func(commit cluster.Commit) error {
			text := fmt.Sprint(commit.Revision, ":")
			for _, write := range commit.Writes {
				text += fmt.Sprintf(" %s=%q", write.Key, write.Value)
			}
			got = append(got, text)
			return nil
		},
	}
	put := func(revision int64, key, value string) *mvccpb.Event {
		kv := &mvccpb.KeyValue{Key: []byte("/p/" + key), Value: []byte(value), ModRevision: revision}
		return &mvccpb.Event{Kv: kv}
	}
	deletion := &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("/p/a"), ModRevision: 14}}
	for _, step := range []struct {
		response *pb.WatchResponse
		want     string
	}{
		{&pb.WatchResponse{Created: true}, ""},
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(10, "a", "old")}}, ""},
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(11, "a", "1"), put(11, "b", "1")}}, `11: a="1" b="1"`},
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(11, "a", "1"), put(12, "c", "")}}, `12: c=""`},
		{&pb.WatchResponse{Fragment: true, Events: []*mvccpb.Event{put(13, "a", "1")}}, ""},
		{&pb.WatchResponse{Fragment: true, Events: []*mvccpb.Event{put(13, "b", "1"), deletion}}, ""},
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(14, "b", "2")}}, `13: a="1" b="1", 14: a="" b="2"`},
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(16, "b", "4"), put(15, "a", "3")}}, `15: a="3", 16: b="4"`},
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(12, "c", "late")}}, ""},
		{&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 99}}, ""}, // progress
		{&pb.WatchResponse{Events: []*mvccpb.Event{put(17, "a", "5")}}, `17: a="5"`},
	} {
		got = nil
		if err := w.handle(step.response); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(got, ", "); text != step.want {
			t.Errorf("%v: got %s, want %s", step.response, text, step.want)
		}
	}
	if err := w.handle(&pb.WatchResponse{Canceled: true, CompactRevision: 5}); !errors.Is(err, cluster.ErrCompacted) {
		t.Errorf("compacted: got %v", err)
	}
	if err := w.handle(&pb.WatchResponse{Canceled: true, CancelReason: "mvcc: x"}); err == nil ||
		!strings.Contains(err.Error(), "ended the watch: mvcc: x") {
		t.Errorf("canceled: got %v", err)
	}
	stop := errors.New("stop")
	w.yield = func(cluster.Commit) error { return stop }
	if err := w.handle(&pb.WatchResponse{Events: []*mvccpb.Event{put(18, "a", "6")}}); err != stop || w.last != 17 {
		t.Errorf("error of yield: got %v, last %d", err, w.last)
	}
}
