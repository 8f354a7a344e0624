package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AddChecksum appends a record's checksum to its fields and returns the complete record. The
// checksum also covers the record's kind and key.
func AddChecksum(kind byte, key, fields []byte) []byte {
	return binary.BigEndian.AppendUint32(fields, checksum(kind, key, fields))
}

// VerifyChecksum verifies that a record's checksum matches its kind, key and fields, and
// returns the fields. The error wraps [ErrDamaged].
func VerifyChecksum(kind byte, key, record []byte) ([]byte, error) {
	if len(record) < crc32.Size {
		return nil, fmt.Errorf("%w: it is too short", ErrDamaged)
	}
	fields, sum := record[:len(record)-crc32.Size], record[len(record)-crc32.Size:]
	if binary.BigEndian.Uint32(sum) != checksum(kind, key, fields) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return fields, nil
}

func checksum(kind byte, key, fields []byte) uint32 {
	// crc32.Update would need these two bytes as a slice, and the slice would escape to the
	// heap.
	sum := ^uint32(0)
	for _, b := range [...]byte{kind, byte(len(key))} {
		sum = castagnoli[byte(sum)^b] ^ sum>>8
	}
	sum = crc32.Update(^sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, fields)
}
