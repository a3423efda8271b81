package luks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"

	"golang.org/x/crypto/argon2"
)

// secret is bytes that are never printed.
type secret []byte

// Format hides the bytes, whatever the verb.
func (secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(hidden)") }

// MarshalText hides the bytes from encoders.
func (secret) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

// wipe overwrites what it can: copies that the libraries made are beyond it.
func wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(b)
}

// source gives what must not be guessed. A label names each use, so that a seeded
// source gives each its own bytes, in whatever order they are asked for.
type source interface {
	fill(label string, b []byte)
	wipe()
}

// random is the kernel's source. crypto/rand.Read ends the program rather than
// give an error.
type random struct{}

func (random) fill(_ string, b []byte) { rand.Read(b) }
func (random) wipe()                   {}

// seeded derives everything from a seed and the volume's UUID.
type seeded struct{ root secret }

// Format hides the root: package fmt calls no methods on unexported fields.
func (seeded) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(hidden)") }

// newSeeded makes the seed as dear to guess as a passphrase: the salts, which
// everybody can read, come from it too and would otherwise confirm a guess at once.
func newSeeded(seed []byte, uuid string) seeded {
	salt := sha256.Sum256([]byte("lithify LUKS volume " + uuid))
	return seeded{argon2.IDKey(seed, salt[:], 4, 64<<10, 4, 32)}
}

// fill gives the start of the key stream of AES-256-CTR under a key of the label's
// own, by HKDF's second half: expanding alone ends at 8160 bytes.
func (s seeded) fill(label string, b []byte) {
	key, err := hkdf.Expand(sha256.New, s.root, label, 32)
	if err != nil {
		panic(err) // the length is fixed
	}
	defer wipe(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // as above
	}
	clear(b)
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(b, b)
}

func (s seeded) wipe() { wipe(s.root) }

// newSource is the source that the options ask for.
func newSource(o Options) source {
	if o.Seed == nil {
		return random{}
	}
	return newSeeded(o.Seed, o.UUID)
}

// take is fill for a new slice of n bytes.
func take(s source, label string, n int) []byte {
	b := make([]byte, n)
	s.fill(label, b)
	return b
}
