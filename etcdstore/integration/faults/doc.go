// Package faults tests a cluster of gates under faults. The tests run three etcd members and
// three gates. Each is a process of its own in a network namespace of its own. While clients
// change and use tokens, the tests kill and stop processes, cut connections, fill disks and
// set clocks.
//
// The first command below takes about a minute per test, for CI. The second runs random
// faults for ten minutes:
//
//	go test -C etcdstore/integration -race ./faults
//	go test -C etcdstore/integration -race ./faults -run TestClusterFaults -cluster.for 10m -timeout 30m -v
//
// To repeat a run's random choices, pass the -cluster.seed that it logged. The processes still
// run at their own speed, so a repeated run can differ from the first. If a check fails, the
// test keeps the history and the logs of all processes in the directory that it logs, and
// TestRecheck checks such a history again. -cluster.source tests another checkout, for example
// one with a deliberate mistake that a checker must find.
//
// Three checkers read what the clients recorded:
//
//   - The calls to the admin API must be linearizable, for each token.
//   - At each gate, requests must see the states of a token in order, and no state that is
//     older than max_staleness allows.
//   - The counts of use must equal the number of requests that clients know to be allowed.
//
// The tests need root, because they create network namespaces. They are skipped if the kernel
// doesn't permit that, unless the environment variable CI is set: then they fail.
package faults
