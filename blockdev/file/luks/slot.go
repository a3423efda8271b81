package luks

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
)

// stripes is how many times its size a key is blown up to in its slot, so that
// losing a little of it is losing all. Both specifications fix it.
const stripes = 4000

// slot is where and how one passphrase guards the volume key.
type slot struct {
	derivation
	splitter string // hash of the anti-forensic splitter
	offset   int64  // of the key material, from the start of the device, in bytes
	keySize  int    // of the volume key, bytes
	wrapSize int    // of the key that the material is encrypted with, bytes
}

// seal writes the volume key into its slot. noise is of (stripes-1) times the
// key's size and is changed.
func (s slot) seal(dev io.WriterAt, key secret, passphrase []byte, noise []byte) error {
	wrap, err := s.key(passphrase, s.wrapSize)
	if err != nil {
		return err
	}
	defer wipe(wrap)
	material, err := split(key, noise, s.splitter)
	if err != nil {
		return err
	}
	defer wipe(material)
	x := newXTS(wrap, 512, 0)
	defer x.wipe()
	// The last sector may be partial on the medium only: 4000 keys are whole sectors.
	x.encrypt(material, material, 0)
	if _, err := dev.WriteAt(material, s.offset); err != nil {
		return fmt.Errorf("writing a key slot: %w", err)
	}
	return nil
}

// open gives the key that this passphrase finds in the slot, which is noise when
// it is the wrong one: the digest tells.
func (s slot) open(dev io.ReaderAt, passphrase []byte) (secret, error) {
	material := make([]byte, s.keySize*stripes)
	if _, err := readFull(dev, material, s.offset); err != nil {
		return nil, fmt.Errorf("reading a key slot: %w", err)
	}
	defer wipe(material)
	wrap, err := s.key(passphrase, s.wrapSize)
	if err != nil {
		return nil, err
	}
	defer wipe(wrap)
	x := newXTS(wrap, 512, 0)
	defer x.wipe()
	x.decrypt(material, material, 0)
	return merge(material, s.keySize, s.splitter)
}

// digest tells whether a key is the volume's.
type digest struct {
	hash       string
	iterations int
	salt, want []byte
}

// matches compares in constant time.
func (d digest) matches(key secret) (bool, error) {
	got, err := derivePBKDF2(key, d.salt, d.hash, d.iterations, len(d.want))
	return err == nil && subtle.ConstantTimeCompare(got, d.want) == 1, err
}

// split spreads a key over stripes, all but the last of them noise: LUKS1
// specification, "Anti-forensic splitter". The result is the caller's to wipe.
func split(key secret, noise []byte, name string) ([]byte, error) {
	material := make([]byte, len(key)*stripes)
	copy(material, noise)
	sum, err := fold(material[:len(key)*(stripes-1)], len(key), name)
	if err != nil {
		return nil, err
	}
	subtle.XORBytes(material[len(key)*(stripes-1):], sum, key)
	wipe(sum)
	return material, nil
}

// merge is the way back.
func merge(material []byte, size int, name string) (secret, error) {
	sum, err := fold(material[:size*(stripes-1)], size, name)
	if err != nil {
		return nil, err
	}
	subtle.XORBytes(sum, sum, material[size*(stripes-1):])
	return sum, nil
}

// fold adds stripes up, the sum diffused after each.
func fold(material []byte, size int, name string) ([]byte, error) {
	h, ok := hashes[name]
	if !ok {
		return nil, fmt.Errorf("hash %q of a key slot: known here are %s", name, hashNames)
	}
	sum, digest, state := make([]byte, size), make([]byte, 0, 64), h.new()
	for ; len(material) > 0; material = material[size:] {
		subtle.XORBytes(sum, sum, material[:size])
		for at, block := 0, uint32(0); at < size; at, block = at+h.size, block+1 {
			piece := sum[at:min(at+h.size, size)]
			state.Reset()
			state.Write(binary.BigEndian.AppendUint32(digest[:0], block))
			state.Write(piece)
			copy(piece, state.Sum(digest[:0]))
		}
	}
	return sum, nil
}

// readFull fills b or says why not; the end of the device is an error, as what is
// read here has to be there.
func readFull(dev io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := dev.ReadAt(b, offset)
	if n == len(b) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
