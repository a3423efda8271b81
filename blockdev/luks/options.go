package luks

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Options say what volume Format writes. The zero value, with a Size, is a LUKS2
// volume as described at each field.
type Options struct {
	// Version is 2 (zero means it) or 1.
	Version int
	// UUID of the volume; empty: a random one, which a Seed forbids.
	UUID string
	// Label and Subsystem are what blkid shows; at most 47 bytes, LUKS2 only.
	Label, Subsystem string
	// SectorSize is the unit of encryption, 512 or 4096 bytes. Zero: 4096 for LUKS2
	// when Size is a multiple of it, else 512. LUKS1 knows 512 only.
	SectorSize int
	// Cipher is "aes-xts-plain64", which empty means too.
	Cipher string
	// KeySize is that of the volume key in bits: 512 (zero means it) or 256.
	KeySize int
	// Hash for the digest of the key, the anti-forensic splitter and PBKDF2: one of
	// sha1, sha224, sha256, sha384, sha512; empty means sha256.
	Hash string
	// PBKDF is how a passphrase becomes the key of its slot.
	PBKDF PBKDF
	// Size of the device that the volume lies on, in bytes, a multiple of SectorSize.
	Size int64
	// Seed, unless nil, is what the volume key, all salts and the noise of the key
	// slots are derived from, together with the UUID, so that equal Options and
	// passphrases give equal bytes. Whoever knows it can read the volume. It stays
	// the caller's. Do not put an Options into another struct's unexported field
	// that may be printed: package fmt calls no methods there.
	Seed []byte `json:"-"`
}

// PBKDF is a key derivation with its costs, which are fixed and never measured on
// the machine that builds: the one that opens the volume may be far smaller. A
// zero field means the default.
type PBKDF struct {
	// Kind is "argon2id" (the default of LUKS2), "argon2i" or "pbkdf2" (the only
	// one of LUKS1, and the only one that GRUB up to 2.12 reads).
	Kind string
	// Iterations of pbkdf2, at least 1000; zero: 600,000 (1,300,000 with SHA-1,
	// 210,000 with SHA-384 and SHA-512). With argon2 passes over the memory, at
	// least 4; zero: 8.
	Iterations int
	// Memory of argon2 in KiB, 32 to 1,048,576; zero: 65,536.
	Memory int
	// Threads of argon2, 1 to 4; zero: 4.
	Threads int
}

// Kinds of key derivation.
const (
	Argon2id = "argon2id"
	Argon2i  = "argon2i"
	PBKDF2   = "pbkdf2"
)

// Limits of passphrases, in bytes, which are cryptsetup's: what it takes from a
// terminal, and from a key file without being asked for more. Format takes up to
// MaxKeyFile; what is longer than MaxTyped, or holds a line feed, opens only from
// a key file.
const (
	MaxTyped   = 512
	MaxKeyFile = 8 << 20
)

const (
	aesXTS     = "aes-xts-plain64"
	labelRoom  = 48 // bytes of a label's field, the NUL after it included
	maxMemory  = 1 << 20
	overheadV1 = 2 << 20
	overheadV2 = 16 << 20
)

// Overhead is how many bytes lie before the payload: 16 MiB, LUKS1 2 MiB.
func Overhead(o Options) int64 {
	if o.Version == 1 {
		return overheadV1
	}
	return overheadV2
}

// Format says what o is, without its Seed, whatever the verb.
func (o Options) Format(f fmt.State, _ rune) {
	seed := "none"
	if o.Seed != nil {
		seed = "(hidden)"
	}
	fmt.Fprintf(f, "luks.Options{Version:%d UUID:%q Label:%q Subsystem:%q SectorSize:%d Cipher:%q KeySize:%d Hash:%q PBKDF:%+v Size:%d Seed:%s}",
		o.Version, o.UUID, o.Label, o.Subsystem, o.SectorSize, o.Cipher, o.KeySize, o.Hash, o.PBKDF, o.Size, seed)
}

// Check finds what is wrong with o, as Format would; where Size is not known yet
// and zero, all but that.
func (o Options) Check() error {
	if o.Size == 0 {
		o.Size = 1 << 40
	}
	_, err := o.complete()
	return err
}

// complete gives o with its defaults filled in, or what is wrong with it.
func (o Options) complete() (Options, error) {
	o.Version = or(o.Version, 2)
	o.Cipher = or(o.Cipher, aesXTS)
	o.KeySize = or(o.KeySize, 512)
	o.Hash = or(o.Hash, "sha256")
	if o.SectorSize == 0 {
		o.SectorSize = 512
		if o.Version == 2 && o.Size%4096 == 0 {
			o.SectorSize = 4096
		}
	}
	for _, check := range []func() error{o.checkCipher, o.checkVersion, o.checkNames, o.checkSize} {
		if err := check(); err != nil {
			return o, err
		}
	}
	var err error
	if o.PBKDF, err = o.PBKDF.complete(o.Version, o.Hash); err != nil {
		return o, err
	}
	o.UUID, err = o.uuid()
	return o, err
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (o Options) checkCipher() error {
	if o.Cipher != aesXTS {
		return fmt.Errorf("cipher %q of a LUKS volume: only %q is written", o.Cipher, aesXTS)
	}
	if o.KeySize != 256 && o.KeySize != 512 {
		return fmt.Errorf("key of %d bits for %s: allowed are 256 and 512", o.KeySize, o.Cipher)
	}
	if _, ok := hashes[o.Hash]; !ok {
		return fmt.Errorf("hash %q of a LUKS volume: allowed are %s", o.Hash, hashNames)
	}
	return nil
}

func (o Options) checkVersion() error {
	switch o.Version {
	case 1:
		if o.Label != "" || o.Subsystem != "" {
			return fmt.Errorf("label %q, subsystem %q: LUKS1 has neither, LUKS2 does", o.Label, o.Subsystem)
		}
		if o.SectorSize != 512 {
			return fmt.Errorf("encryption sectors of %d bytes: LUKS1 has 512 only", o.SectorSize)
		}
	case 2:
		if o.SectorSize != 512 && o.SectorSize != 4096 {
			return fmt.Errorf("encryption sectors of %d bytes: allowed are 512 and 4096", o.SectorSize)
		}
	default:
		return fmt.Errorf("LUKS version %d: allowed are 1 and 2", o.Version)
	}
	return nil
}

func (o Options) checkNames() error {
	for _, field := range [][2]string{{"label", o.Label}, {"subsystem", o.Subsystem}} {
		if len(field[1]) >= labelRoom || strings.ContainsRune(field[1], 0) {
			return fmt.Errorf("LUKS %s %q: at most %d bytes, none of them NUL", field[0], field[1], labelRoom-1)
		}
	}
	return nil
}

func (o Options) checkSize() error {
	if least := Overhead(o) + int64(o.SectorSize); o.Size < least {
		return fmt.Errorf("LUKS%d volume on %d bytes: it needs %d at least", o.Version, o.Size, least)
	}
	if o.Size%int64(o.SectorSize) != 0 {
		return fmt.Errorf("LUKS volume on %d bytes: no multiple of its encryption sectors of %d bytes", o.Size, o.SectorSize)
	}
	return nil
}

// uuid gives the volume's UUID in lower case, a random one where none is given.
func (o Options) uuid() (string, error) {
	switch {
	case o.Seed != nil && len(o.Seed) == 0:
		return "", fmt.Errorf("the seed of a LUKS volume is empty: its keys would be known to everybody")
	case o.UUID == "" && o.Seed != nil:
		return "", fmt.Errorf("a LUKS volume with a seed needs a UUID: all volumes of that seed would have one key")
	case o.UUID == "":
		var id [16]byte
		random{}.fill("", id[:])
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
		text := hex.EncodeToString(id[:])
		return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-"), nil
	}
	dashes := []int{8, 13, 18, 23}
	digits, err := hex.DecodeString(strings.ReplaceAll(o.UUID, "-", ""))
	if err != nil || len(digits) != 16 || len(o.UUID) != 36 ||
		slices.ContainsFunc(dashes, func(at int) bool { return o.UUID[at] != '-' }) {
		return "", fmt.Errorf("UUID %q of a LUKS volume: expected 8-4-4-4-12 hexadecimal digits", o.UUID)
	}
	return strings.ToLower(o.UUID), nil
}

// complete gives p with its defaults filled in for a version of LUKS and a hash.
func (p PBKDF) complete(version int, hash string) (PBKDF, error) {
	if p.Kind == "" {
		p.Kind = Argon2id
		if version == 1 {
			p.Kind = PBKDF2
		}
	}
	switch {
	case p.Kind == PBKDF2:
		return p.completePBKDF2(hash)
	case p.Kind != Argon2id && p.Kind != Argon2i:
		return p, fmt.Errorf("key derivation %q: allowed are %s, %s and %s", p.Kind, Argon2id, Argon2i, PBKDF2)
	case version == 1:
		return p, fmt.Errorf("key derivation %q: LUKS1 has %s only", p.Kind, PBKDF2)
	}
	p.Iterations, p.Memory, p.Threads = or(p.Iterations, 8), or(p.Memory, 64<<10), or(p.Threads, 4)
	switch {
	case p.Iterations < 4 || p.Iterations > 1<<16:
		return p, fmt.Errorf("%s with %d passes: allowed are 4 to %d", p.Kind, p.Iterations, 1<<16)
	case p.Memory < 32 || p.Memory > maxMemory:
		return p, fmt.Errorf("%s with %d KiB of memory: allowed are 32 to %d", p.Kind, p.Memory, maxMemory)
	case p.Threads < 1 || p.Threads > 4:
		return p, fmt.Errorf("%s with %d threads: allowed are 1 to 4", p.Kind, p.Threads)
	}
	return p, nil
}

func (p PBKDF) completePBKDF2(hash string) (PBKDF, error) {
	if p.Memory != 0 || p.Threads != 0 {
		return p, fmt.Errorf("%s with memory or threads: it has iterations only", p.Kind)
	}
	if p.Iterations == 0 {
		p.Iterations = hashes[hash].iterations
	}
	if p.Iterations < 1000 || p.Iterations > 1<<31-1 {
		return p, fmt.Errorf("%s with %d iterations: allowed are 1000 to %d", p.Kind, p.Iterations, 1<<31-1)
	}
	return p, nil
}

// Complete gives o with its defaults filled in, as Format takes them, or what is
// wrong with it.
func (o Options) Complete() (Options, error) { return o.complete() }
