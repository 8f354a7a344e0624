package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AddChecksum returns fields with the checksum of a record of a kind under a key.
func AddChecksum(kind byte, key, fields []byte) []byte {
	return binary.BigEndian.AppendUint32(fields, checksum(kind, key, fields))
}

// VerifyChecksum returns the fields of a record. The error wraps [ErrDamaged].
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
	// The first two bytes by hand: a slice of them would be allocated.
	sum := ^uint32(0)
	for _, b := range [...]byte{kind, byte(len(key))} {
		sum = castagnoli[byte(sum)^b] ^ sum>>8
	}
	sum = crc32.Update(^sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, fields)
}
