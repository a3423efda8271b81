package luks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Device is what a volume lies on: a file, a partition of it, another volume. It
// must bear calls side by side that do not touch the same bytes, as os.File does.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

var (
	// ErrPassphrase is that no key slot opens with the passphrase given.
	ErrPassphrase = errors.New("no key slot opens with this passphrase")
	// ErrNoVolume is that a device has no LUKS header, broken or not.
	ErrNoVolume = errors.New("no LUKS header")
)

var magic = []byte("LUKS\xba\xbe")

const sector = 512 // bytes; what both headers and the kernel count in

// Format writes a volume's headers and one key slot per passphrase, in their
// order, over what was there before, and gives the volume open. The payload is
// left as it is: what was never written through the volume reads as noise, not as
// zeros. Passphrases are taken byte by byte, a line feed at the end included, and
// stay the caller's, to wipe. The first header is written last.
func Format(dev Device, o Options, passphrases [][]byte) (*Volume, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := checkPassphrases(passphrases, o.Version); err != nil {
		return nil, err
	}
	secrets := newSource(o)
	defer secrets.wipe()
	var key secret = take(secrets, "volume key", o.KeySize/8)
	defer wipe(key)
	if err := blank(dev, Overhead(o)); err != nil {
		return nil, err
	}
	write := format2
	if o.Version == 1 {
		write = format1
	}
	if err := write(dev, o, secrets, key, passphrases); err != nil {
		return nil, err
	}
	return newVolume(dev, key, extent{offset: Overhead(o), size: o.Size - Overhead(o), sector: o.SectorSize}), nil
}

func checkPassphrases(passphrases [][]byte, version int) error {
	most := slots2
	if version == 1 {
		most = slots1
	}
	if len(passphrases) == 0 || len(passphrases) > most {
		return fmt.Errorf("%d passphrases: a LUKS%d volume has 1 to %d", len(passphrases), version, most)
	}
	for i, p := range passphrases {
		if err := checkPassphrase(p); err != nil {
			return fmt.Errorf("passphrase %d: %w", i+1, err)
		}
	}
	return nil
}

func checkPassphrase(p []byte) error {
	if len(p) == 0 || len(p) > MaxKeyFile {
		return fmt.Errorf("of %d bytes: allowed are 1 to %d", len(p), MaxKeyFile)
	}
	return nil
}

// blank makes n bytes from the start read as zero: an older volume's key slots,
// another format's marks. What is zero or a hole stays as it is.
func blank(dev Device, n int64) error {
	buf := make([]byte, 1<<20)
	zero := make([]byte, len(buf))
	for at := int64(0); at < n; at += int64(len(buf)) {
		got, err := dev.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return fmt.Errorf("looking at what is below a LUKS header: %w", err)
		}
		if bytes.Equal(buf[:got], zero[:got]) {
			continue
		}
		if _, err := dev.WriteAt(zero[:got], at); err != nil {
			return fmt.Errorf("clearing the place of a LUKS header: %w", err)
		}
	}
	return nil
}

// sealAll writes the volume key into one slot per passphrase.
func sealAll(dev Device, slots []slot, key secret, passphrases [][]byte, secrets source) error {
	noise := make([]byte, len(key)*(stripes-1))
	defer wipe(noise)
	for i, s := range slots {
		secrets.fill(fmt.Sprint("noise of slot ", i), noise)
		if err := s.seal(dev, key, passphrases[i], noise); err != nil {
			return err
		}
	}
	return nil
}

// Open opens the volume on the first size bytes of dev. Slots are tried in the
// order in which cryptsetup does. A header that names more memory or time than a
// volume of cryptsetup's defaults would take is an error, as is one that uses what
// this package does not know.
func Open(dev Device, size int64, passphrase []byte) (*Volume, error) {
	return open(dev, size, passphrase, defaultLimits())
}

func open(dev Device, size int64, passphrase []byte, l *limits) (*Volume, error) {
	if err := checkPassphrase(passphrase); err != nil {
		return nil, fmt.Errorf("passphrase %w", err)
	}
	start := make([]byte, len(magic)+2)
	if size < int64(len(start)) {
		return nil, fmt.Errorf("opening %d bytes: %w", size, ErrNoVolume)
	}
	if _, err := readFull(dev, start, 0); err != nil {
		return nil, fmt.Errorf("reading a LUKS header: %w", err)
	}
	read := read2
	if bytes.Equal(start, append(slices.Clone(magic), 0, 1)) {
		read = read1
	}
	p, err := read(dev, size)
	if err != nil {
		return nil, err
	}
	return p.open(dev, passphrase, l)
}

// plan is what a header says.
type plan struct {
	slots  []slot // in the order to try them
	digest digest
	extent extent
}

// open tries the slots.
func (p plan) open(dev Device, passphrase []byte, l *limits) (*Volume, error) {
	for _, s := range p.slots {
		v, err := p.try(dev, s, passphrase, l)
		if v != nil || err != nil {
			return v, err
		}
	}
	return nil, ErrPassphrase
}

// try gives nil, nil where the slot does not open.
func (p plan) try(dev Device, s slot, passphrase []byte, l *limits) (*Volume, error) {
	if err := l.pay(s.derivation, s.wrapSize); err != nil {
		return nil, fmt.Errorf("opening a key slot: %w", err)
	}
	check := derivation{PBKDF: PBKDF{Kind: PBKDF2, Iterations: p.digest.iterations}, hash: p.digest.hash}
	if err := l.pay(check, len(p.digest.want)); err != nil {
		return nil, fmt.Errorf("checking a volume key: %w", err)
	}
	key, err := s.open(dev, passphrase)
	if err != nil {
		return nil, err
	}
	defer wipe(key)
	if ok, err := p.digest.matches(key); !ok || err != nil {
		return nil, err
	}
	return newVolume(dev, key, p.extent), nil
}
