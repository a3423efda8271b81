package luks

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/crypto/argon2"
)

// hashes by the names of the kernel, with the iterations of PBKDF2 that OWASP's
// Password Storage Cheat Sheet of 2023 asks for (sha224 and sha384 as their kin).
var hashes = map[string]struct {
	new        func() hash.Hash
	size       int
	iterations int
}{
	"sha1":   {sha1.New, sha1.Size, 1_300_000},
	"sha224": {sha256.New224, sha256.Size224, 600_000},
	"sha256": {sha256.New, sha256.Size, 600_000},
	"sha384": {sha512.New384, sha512.Size384, 210_000},
	"sha512": {sha512.New, sha512.Size, 210_000},
}

var hashNames = strings.Join(slices.Sorted(maps.Keys(hashes)), ", ")

// derivation is how a slot's key is made from its passphrase.
type derivation struct {
	PBKDF
	hash string // of pbkdf2
	salt []byte
}

// limits bound what a header that we did not write may cost.
type limits struct {
	memory int   // KiB of argon2
	passes int64 // KiB of argon2 times its passes, over all tries together
	rounds int64 // blocks of PBKDF2 times their iterations, over all tries together
}

// defaultLimits allow what cryptsetup makes by itself (a GiB of memory, two
// seconds a slot), several slots of it, and end after minutes at worst.
func defaultLimits() *limits {
	return &limits{memory: maxMemory, passes: 96 << 20, rounds: 400_000_000}
}

var errDear = errors.New("more than is opened here")

// pay takes a derivation of n bytes off what is left, or refuses it.
func (l *limits) pay(d derivation, n int) error {
	if d.Kind != PBKDF2 {
		if d.Iterations < 1 || d.Memory < 1 || d.Threads < 1 || d.Threads > 255 {
			return fmt.Errorf("%s with %d passes, %d KiB, %d threads", d.Kind, d.Iterations, d.Memory, d.Threads)
		}
		if d.Memory <= l.memory { // else the product may overflow
			l.passes -= int64(d.Memory) * min(int64(d.Iterations), 1<<32)
		}
		if d.Memory > l.memory || l.passes < 0 {
			return fmt.Errorf("%s with %d passes over %d KiB: %w", d.Kind, d.Iterations, d.Memory, errDear)
		}
		return nil
	}
	h, ok := hashes[d.hash]
	if !ok || d.Iterations < 1 {
		return fmt.Errorf("%s with %d iterations of %q: hashes known here are %s", d.Kind, d.Iterations, d.hash, hashNames)
	}
	l.rounds -= int64((n+h.size-1)/h.size) * min(int64(d.Iterations), 1<<32)
	if l.rounds < 0 {
		return fmt.Errorf("%s with %d iterations: %w", d.Kind, d.Iterations, errDear)
	}
	return nil
}

// key derives n bytes from a passphrase.
func (d derivation) key(passphrase []byte, n int) (secret, error) {
	switch d.Kind {
	case Argon2id:
		return argon2.IDKey(passphrase, d.salt, uint32(d.Iterations), uint32(d.Memory), uint8(d.Threads), uint32(n)), nil
	case Argon2i:
		return argon2.Key(passphrase, d.salt, uint32(d.Iterations), uint32(d.Memory), uint8(d.Threads), uint32(n)), nil
	case PBKDF2:
		return derivePBKDF2(passphrase, d.salt, d.hash, d.Iterations, n)
	}
	return nil, fmt.Errorf("key derivation %q is not known here", d.Kind)
}

// derivePBKDF2 lends the passphrase to a function that wants a string, rather than
// make a copy that could not be wiped.
func derivePBKDF2(passphrase, salt []byte, name string, iterations, n int) (secret, error) {
	h, ok := hashes[name]
	if !ok {
		return nil, fmt.Errorf("hash %q: known here are %s", name, hashNames)
	}
	key, err := pbkdf2.Key(h.new, unsafe.String(unsafe.SliceData(passphrase), len(passphrase)), salt, iterations, n)
	if err != nil {
		return nil, fmt.Errorf("deriving a key by %s and %s: %w", PBKDF2, name, err)
	}
	return key, nil
}
