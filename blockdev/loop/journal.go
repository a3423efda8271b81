package loop

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// defaultState is where journals are. It goes with the machine's memory, as
// mappings and arrays do.
const defaultState = "/run/lithify/volumes"

// journal lists what a disk with volumes is about to make in the kernel, a line
// each, before the deed: mappings and arrays are in no namespace and outlive
// whoever made them. It is locked while its disk lives, by the disk and by every
// tool that works for it; whoever gets the lock finds a dead one's.
//
//	loop TAG         loop devices that carry TAG in their names
//	mapping NAME     a mapping of the device mapper
//	group NAME       mappings NAME-…, and the folder /dev/NAME
//	array mdN        an md array
//	kept, resumed    nobody is to remove anything; that is over
//	mounts DIR       mounts below a work folder, for who is in no namespace either
type journal struct {
	file *os.File
	tag  string // begins all names, and is nobody else's
	deed func() // for tests
}

const tagPrefix = "lithify_"

// newJournal makes a journal with a tag of its own in a folder, which is made
// where it is missing.
func newJournal(dir string, deed func()) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for journals: %w", err)
	}
	if deed == nil {
		deed = func() {}
	}
	for {
		var random [5]byte
		rand.Read(random[:]) // never an error
		tag := tagPrefix + hex.EncodeToString(random[:])
		f, err := os.OpenFile(filepath.Join(dir, tag), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("making a journal: %w", err)
		}
		if lockJournal(f) {
			return &journal{f, tag, deed}, nil
		}
		if err := f.Close(); err != nil { // a sweep took it for a dead one's
			return nil, err
		}
	}
}

// lockJournal takes the lock of a journal that still has its name.
func lockJournal(f *os.File) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	var own, named unix.Stat_t
	return unix.Fstat(int(f.Fd()), &own) == nil && unix.Lstat(f.Name(), &named) == nil && own.Ino == named.Ino
}

// note writes down what is about to be made.
func (j *journal) note(kind, name string) error {
	if _, err := fmt.Fprintln(j.file, kind, name); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	j.deed()
	return nil
}

// deed tells a test that something was done, of which there may be no journal.
func (d *disk) deed() {
	if d.journal != nil {
		d.journal.deed()
	}
}

// remove ends the journal: nothing of its disk is left.
func (j *journal) remove() error {
	return errors.Join(os.Remove(j.file.Name()), j.file.Close())
}
