package tokenstore

import "hash/crc32"

// Kinds of records, part of what the checksum covers. A token's is in package token.
const (
	usageRecord   byte = 'u'
	dayRecord     byte = 'd'
	auditRecord   byte = 'a'
	requestRecord byte = 'r'
	endedRecord   byte = 'e'
	flushRecord   byte = 'f'
)

// RecordChecksum returns the checksum that a record carries. It differs between
// two versions of a token, so that a backend can notice an outdated one.
func RecordChecksum(record []byte) (sum [crc32.Size]byte) {
	if len(record) >= len(sum) {
		copy(sum[:], record[len(record)-len(sum):])
	}
	return sum
}
