package cluster

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// Keys in the shared store. A generation is a whole set of tokens with their usage: restoring
// a backup writes a new generation and then switches to it in one transaction.
//
//	store                      identifies the store and names its generation
//	told                       time up to which expiry events have been published
//	backup                     time of the last backup
//	node/<node>                a live node
//	generation/<generation>    a generation that may exist
//	confirm/<request>          asks all nodes to confirm that they have all changes
//	confirm/<request>/<node>   a node's answer
//	value/<key>                a value that all nodes share, such as a browser's session
//	values                     written with each value
//	g/<generation>/a/<audit key>        audit record
//	g/<generation>/change               key of the newest audit record
//	g/<generation>/d/<digest>           ID of the token that was imported with this secret
//	g/<generation>/e/<digest>           imported secret that was taken out of service
//	g/<generation>/q/<id>/<day>         the nodes' allotments of a quota in a period
//	g/<generation>/r/<digest>           idempotency request
//	g/<generation>/t/<id>               token record
//	g/<generation>/u/<node>/days/<day>/<shard>   a node's usage on a day
//	g/<generation>/u/<node>/sums/<day>           a node's usage of all tokens on a day
//	g/<generation>/u/<node>/totals/<shard>       a node's totals
//
// Binary parts are in hexadecimal, so keys sort like the bytes they encode.
const (
	storeKey    = "store"
	toldKey     = "told"
	backupKey   = "backup"
	nodePrefix  = "node/"
	generations = "g/"
)

// Parts of a generation's keys.
const (
	auditPart   = "a"
	changePart  = "change"
	digestPart  = "d"
	endedPart   = "e"
	quotaPart   = "q"
	requestPart = "r"
	tokenPart   = "t"
	usagePart   = "u"
)

// keys makes the keys of one generation.
type keys struct{ prefix string }

func keysOf(generation uint64) keys { return keys{fmt.Sprintf("%s%d/", generations, generation)} }

func (k keys) change() string                 { return k.prefix + changePart }
func (k keys) token(id token.ID) string       { return k.of(tokenPart, string(id[:])) }
func (k keys) digest(d token.Digest) string   { return k.binary(digestPart, d[:]) }
func (k keys) ended(d token.Digest) string    { return k.binary(endedPart, d[:]) }
func (k keys) request(d token.Digest) string  { return k.binary(requestPart, d[:]) }
func (k keys) audit(key []byte) string        { return k.binary(auditPart, key) }
func (k keys) usage(node, name string) string { return k.of(usagePart, node+"/"+name) }

func (k keys) of(part, name string) string { return k.prefix + part + "/" + name }

func (k keys) binary(part string, key []byte) string { return k.of(part, hex.EncodeToString(key)) }

// parse splits a key of the generation into its part and the rest. It reports false for all
// other keys.
func (k keys) parse(key string) (part, rest string, ok bool) {
	key, ok = strings.CutPrefix(key, k.prefix)
	if !ok {
		return "", "", false
	}
	part, rest, _ = strings.Cut(key, "/")
	return part, rest, true
}

// tables maps the parts of keys to the replica's tables.
var tables = map[string]bolt.Table{
	tokenPart: bolt.TokensTable, endedPart: bolt.EndedTable, auditPart: bolt.AuditTable,
	requestPart: bolt.RequestsTable,
}

// key returns the key of a replica's record.
func (k keys) key(part string, key []byte) string {
	if part == tokenPart {
		return k.of(part, string(key))
	}
	return k.binary(part, key)
}

// replicaKey returns the key that the replica stores a record under. It reports false if the
// key is malformed.
func replicaKey(part, rest string) ([]byte, bool) {
	if part == tokenPart {
		return []byte(rest), len(rest) == len(token.ID{})
	}
	key, err := hex.DecodeString(rest)
	return key, err == nil
}
