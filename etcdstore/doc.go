// Package etcdstore is a Caddy module that stores tokens in etcd, so that several gates share
// them. It is a module of its own, so that other builds of the gate don't contain etcd's client.
package etcdstore
