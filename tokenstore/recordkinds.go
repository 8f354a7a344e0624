package tokenstore

import "hash/crc32"

// Kinds of records. A record's checksum covers its kind. The kind of token records is defined
// in package token.
const (
	usageRecord   byte = 'u'
	dayRecord     byte = 'd'
	auditRecord   byte = 'a'
	requestRecord byte = 'r'
	endedRecord   byte = 'e'
	flushRecord   byte = 'f'
	// A token's refusals.
	refusalsRecord byte = 'x'
)

// RecordChecksum returns the checksum at the end of a record. Different versions of a token
// have different checksums, so a backend can detect an outdated record.
func RecordChecksum(record []byte) (sum [crc32.Size]byte) {
	if len(record) >= len(sum) {
		copy(sum[:], record[len(record)-len(sum):])
	}
	return sum
}
