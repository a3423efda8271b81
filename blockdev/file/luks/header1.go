package luks

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// slots1 is how many key slots LUKS1 has.
const slots1 = 8

// header1 is the header of LUKS1, big endian: LUKS1 specification, figures 1 and 2.
type header1 struct {
	Magic        [6]byte
	Version      uint16
	Cipher, Mode [32]byte
	Hash         [32]byte
	Payload      uint32 // sectors
	KeySize      uint32 // bytes
	Digest       [20]byte
	Salt         [32]byte
	Iterations   uint32
	UUID         [40]byte
	Slots        [slots1]slot1
}

type slot1 struct {
	State      uint32
	Iterations uint32
	Salt       [32]byte
	Offset     uint32 // sectors
	Stripes    uint32
}

const (
	slotUsed = 0x00ac71f3
	slotFree = 0x0000dead
	// digestIterations: a volume key is random, or as dear to guess as a
	// passphrase; its digest need not be dear as well. cryptsetup's least.
	digestIterations = 1000
	slotAlignment    = 4096
)

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// format1 writes a LUKS1 volume's key slots and header.
func format1(dev Device, o Options, secrets source, key secret, passphrases [][]byte) error {
	h := header1{Version: 1, Payload: overheadV1 / sector, KeySize: uint32(len(key)), Iterations: digestIterations}
	copy(h.Magic[:], magic)
	copy(h.Cipher[:], "aes")
	copy(h.Mode[:], "xts-plain64")
	copy(h.Hash[:], o.Hash)
	copy(h.UUID[:], o.UUID)
	secrets.fill("salt of digest", h.Salt[:])
	sum, err := derivePBKDF2(key, h.Salt[:], o.Hash, digestIterations, len(h.Digest))
	if err != nil {
		return err
	}
	copy(h.Digest[:], sum)
	used := make([]slot, len(passphrases))
	for i := range h.Slots {
		h.Slots[i] = slot1{State: slotFree, Stripes: stripes,
			Offset: uint32((slotAlignment + int64(i)*align(int64(len(key)*stripes), slotAlignment)) / sector)}
		if i < len(used) {
			h.Slots[i].State, h.Slots[i].Iterations = slotUsed, uint32(o.PBKDF.Iterations)
			secrets.fill(fmt.Sprint("salt of slot ", i), h.Slots[i].Salt[:])
			used[i] = h.slot(i)
		}
	}
	if err := sealAll(dev, used, key, passphrases, secrets); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := binary.Write(&out, binary.BigEndian, h); err != nil {
		return fmt.Errorf("encoding a LUKS1 header: %w", err)
	}
	if _, err := dev.WriteAt(out.Bytes(), 0); err != nil {
		return fmt.Errorf("writing a LUKS1 header: %w", err)
	}
	return nil
}

// slot gives slot i in the form that both versions share.
func (h *header1) slot(i int) slot {
	s := &h.Slots[i]
	return slot{
		derivation: derivation{PBKDF{Kind: PBKDF2, Iterations: int(s.Iterations)}, text(h.Hash[:]), s.Salt[:]},
		splitter:   text(h.Hash[:]),
		offset:     int64(s.Offset) * sector,
		keySize:    int(h.KeySize),
		wrapSize:   int(h.KeySize),
	}
}

// text is a field's content up to the first NUL.
func text(field []byte) string {
	s, _, _ := bytes.Cut(field, []byte{0})
	return string(s)
}

// read1 reads the header of a LUKS1 volume.
func read1(dev Device, size int64) (plan, error) {
	var h header1
	raw := make([]byte, binary.Size(h))
	if _, err := readFull(dev, raw, 0); err != nil {
		return plan{}, fmt.Errorf("reading a LUKS1 header: %w", err)
	}
	if _, err := binary.Decode(raw, binary.BigEndian, &h); err != nil {
		return plan{}, fmt.Errorf("decoding a LUKS1 header: %w", err)
	}
	if err := h.check(size); err != nil {
		return plan{}, fmt.Errorf("LUKS1 header: %w", err)
	}
	p := plan{
		digest: digest{text(h.Hash[:]), int(h.Iterations), h.Salt[:], h.Digest[:]},
		extent: extent{offset: int64(h.Payload) * sector, sector: sector},
	}
	p.extent.size = (size - p.extent.offset) / sector * sector
	for i := range h.Slots {
		if h.Slots[i].State == slotUsed {
			p.slots = append(p.slots, h.slot(i))
		}
	}
	return p, nil
}

// check is whether the volume is one that is known here and lies within size bytes.
func (h *header1) check(size int64) error {
	if cipher := text(h.Cipher[:]) + "-" + text(h.Mode[:]); cipher != aesXTS {
		return fmt.Errorf("cipher %q is not known here, %q is", cipher, aesXTS)
	}
	if h.KeySize != 32 && h.KeySize != 64 {
		return fmt.Errorf("key of %d bytes: known here are 32 and 64", h.KeySize)
	}
	payload := int64(h.Payload) * sector
	if h.Payload == 0 || payload+sector > size {
		return fmt.Errorf("payload at byte %d of %d", payload, size)
	}
	for i, s := range h.Slots {
		switch end := int64(s.Offset)*sector + int64(h.KeySize)*stripes; {
		case s.State == slotFree:
		case s.State != slotUsed:
			return fmt.Errorf("state %#x of key slot %d", s.State, i)
		case s.Stripes != stripes || int64(s.Offset)*sector < int64(binary.Size(*h)) || end > payload:
			return fmt.Errorf("key slot %d: %d stripes at sector %d", i, s.Stripes, s.Offset)
		}
	}
	return nil
}
