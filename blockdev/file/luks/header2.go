package luks

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// binary2 is the first part of a header of LUKS2, big endian, on 4096 bytes, after
// which metadata in JSON follows: LUKS2 specification, 2.1.
type binary2 struct {
	Magic     [6]byte
	Version   uint16
	Size      uint64 // of the header with its JSON, bytes
	Sequence  uint64
	Label     [labelRoom]byte
	Checksum  [32]byte // name of the hash
	Salt      [64]byte
	UUID      [40]byte
	Subsystem [labelRoom]byte
	Offset    uint64 // of this header
	_         [184]byte
	Sum       [64]byte // over the whole header, this field zero
	_         [7 * 512]byte
}

const (
	binaryRoom = 4096
	leastRoom  = 16 << 10 // of one header
	mostRoom   = 4 << 20
)

// secondMagic marks the second header.
var secondMagic = []byte("SKUL\xba\xbe")

// format2 writes a LUKS2 volume's key slots and both headers.
func format2(dev Device, o Options, secrets source, key secret, passphrases [][]byte) error {
	content, room, err := describe(o, secrets, key, len(passphrases))
	if err != nil {
		return err
	}
	if err := sealAll(dev, content.used(), key, passphrases, secrets); err != nil {
		return err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encoding LUKS2 metadata: %w", err)
	}
	for copy := 1; copy >= 0; copy-- {
		raw, err := encode2(o, secrets, copy, room, text)
		if err != nil {
			return err
		}
		if _, err := dev.WriteAt(raw, int64(copy*room)); err != nil {
			return fmt.Errorf("writing LUKS2 header %d: %w", copy+1, err)
		}
	}
	return nil
}

// encode2 gives the first (0) or second (1) header with its checksum.
func encode2(o Options, secrets source, number, room int, text []byte) ([]byte, error) {
	h := binary2{Version: 2, Size: uint64(room), Sequence: 1, Offset: uint64(number * room)}
	copy(h.Magic[:], [][]byte{magic, secondMagic}[number])
	copy(h.Label[:], o.Label)
	copy(h.Subsystem[:], o.Subsystem)
	copy(h.Checksum[:], checksum2)
	copy(h.UUID[:], o.UUID)
	secrets.fill(fmt.Sprint("salt of header ", number), h.Salt[:])
	var out bytes.Buffer
	if err := binary.Write(&out, binary.BigEndian, h); err != nil {
		return nil, fmt.Errorf("encoding a LUKS2 header: %w", err)
	}
	raw := append(out.Bytes(), text...)
	raw = append(raw, make([]byte, room-len(raw))...)
	copy(raw[sumStart:], sum2(raw, checksum2))
	return raw, nil
}

const (
	checksum2 = "sha256" // what cryptsetup always takes here
	sumStart  = 0x1c0
)

// sum2 is the checksum of a header whose field for it is zero.
func sum2(raw []byte, name string) []byte {
	h := hashes[name].new()
	h.Write(raw)
	return h.Sum(nil)
}

// read2 reads the better header of a LUKS2 volume.
func read2(dev Device, size int64) (plan, error) {
	h, text, err := newest(dev, size)
	if err != nil {
		return plan{}, err
	}
	var content metadata
	if err := json.Unmarshal(text, &content); err != nil {
		return plan{}, fmt.Errorf("decoding LUKS2 metadata: %w", err)
	}
	p, err := content.plan(int64(h.Size), size)
	if err != nil {
		return plan{}, fmt.Errorf("LUKS2 metadata: %w", err)
	}
	return p, nil
}

// newest gives the valid header with the greater sequence number and its JSON.
// Without a valid first one the second is looked for at all places it can have.
func newest(dev Device, size int64) (*binary2, []byte, error) {
	first, text, firstErr := header2(dev, size, 0, magic)
	if firstErr == nil {
		second, other, err := header2(dev, size, int64(first.Size), secondMagic)
		if err == nil && second.Sequence > first.Sequence {
			return second, other, nil
		}
		return first, text, nil
	}
	for at := int64(leastRoom); at <= mostRoom; at *= 2 {
		second, text, err := header2(dev, size, at, secondMagic)
		if err == nil {
			return second, text, nil
		}
		if !errors.Is(err, ErrNoVolume) {
			firstErr = errors.Join(firstErr, err)
		}
	}
	return nil, nil, firstErr
}

// header2 reads the header at an offset and its JSON, without the NULs behind.
func header2(dev Device, size, at int64, mark []byte) (*binary2, []byte, error) {
	var h binary2
	raw := make([]byte, binaryRoom)
	if at+binaryRoom > size {
		return nil, nil, fmt.Errorf("LUKS2 header at byte %d of %d: %w", at, size, ErrNoVolume)
	}
	if _, err := readFull(dev, raw, at); err != nil {
		return nil, nil, fmt.Errorf("reading a LUKS2 header at byte %d: %w", at, err)
	}
	if !bytes.HasPrefix(raw, mark) {
		return nil, nil, fmt.Errorf("byte %d: %w", at, ErrNoVolume)
	}
	if _, err := binary.Decode(raw, binary.BigEndian, &h); err != nil {
		return nil, nil, fmt.Errorf("decoding a LUKS2 header at byte %d: %w", at, err)
	}
	if err := h.check(at, size); err != nil {
		return nil, nil, fmt.Errorf("LUKS2 header at byte %d: %w", at, err)
	}
	raw = append(raw, make([]byte, h.Size-binaryRoom)...)
	if _, err := readFull(dev, raw[binaryRoom:], at+binaryRoom); err != nil {
		return nil, nil, fmt.Errorf("reading LUKS2 metadata at byte %d: %w", at+binaryRoom, err)
	}
	clear(raw[sumStart : sumStart+len(h.Sum)])
	if sum := sum2(raw, text(h.Checksum[:])); !bytes.Equal(sum, h.Sum[:len(sum)]) {
		return nil, nil, fmt.Errorf("LUKS2 header at byte %d: its checksum is wrong", at)
	}
	return &h, []byte(text(raw[binaryRoom:])), nil
}

// check is whether the rest of the header can be read.
func (h *binary2) check(at, size int64) error {
	if h.Version != 2 {
		return fmt.Errorf("LUKS version %d: known are 1 and 2", h.Version)
	}
	if h.Size < leastRoom || h.Size > mostRoom || h.Size&(h.Size-1) != 0 {
		return fmt.Errorf("size %d: allowed are the powers of two from %d to %d", h.Size, leastRoom, mostRoom)
	}
	if h.Offset != uint64(at) || at != 0 && h.Size != uint64(at) || at+int64(h.Size) > size {
		return fmt.Errorf("says that it is %d bytes at byte %d, on a device of %d", h.Size, h.Offset, size)
	}
	if _, ok := hashes[text(h.Checksum[:])]; !ok {
		return fmt.Errorf("checksum by %q: known here are %s", text(h.Checksum[:]), hashNames)
	}
	return nil
}
