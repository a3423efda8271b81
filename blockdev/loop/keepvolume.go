package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// keepVolumes notes the volumes, and that no sweep may take them.
func (d *disk) keepVolumes(k *Kept) error {
	if d.journal == nil {
		return nil
	}
	for _, m := range d.made {
		k.Volumes = append(k.Volumes, m.kept())
	}
	k.Journal = d.journal.file.Name()
	return d.journal.note("kept", d.journal.tag)
}

func (g *group) kept() KeptVolume     { return KeptVolume{Name: g.name, Text: g.text} }
func (a *array) kept() KeptVolume     { return KeptVolume{Name: a.md} }
func (e *encrypted) kept() KeptVolume { return KeptVolume{Name: e.name} }

// resumeJournal makes the journal this process's. It is not there when the machine
// was started anew; then neither is anything that it lists.
func (d *disk) resumeJournal(path string) error {
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if !lockJournal(f) {
		return errors.Join(fmt.Errorf("the disk is in use: journal %q is locked", path), f.Close())
	}
	d.journal = &journal{f, filepath.Base(path), func() {}}
	d.undo.push(d.journal.remove)
	return d.journal.note("resumed", d.journal.tag)
}

// resumeVolumes goes on with the volumes that are there, whose names nobody else
// has.
func (d *disk) resumeVolumes(k Kept) error {
	if len(k.Volumes) > len(k.Plan.Volumes) {
		return fmt.Errorf("loop: %d volumes are kept, and the plan has %d", len(k.Volumes), len(k.Plan.Volumes))
	}
	for i, kept := range k.Volumes {
		p := &k.Plan.Volumes[i]
		var v volume
		var nodes []string
		switch {
		case p.Group != nil:
			g := &group{disk: d, plan: p, name: kept.Name, text: kept.Text}
			for _, l := range p.Group.Logical {
				nodes = append(nodes, l.Node)
			}
			d.undo.push(func() error { return os.RemoveAll(g.dir()) })
			v = g
		case p.Array != nil:
			v, nodes = &array{disk: d, plan: p, md: kept.Name}, []string{p.Node}
		default:
			v, nodes = &encrypted{disk: d, plan: p, name: kept.Name}, []string{p.Node}
		}
		d.made = append(d.made, made{p, v})
		d.undo.push(func() error { return d.dropLast(v) })
		for _, n := range nodes {
			if err := d.resumeVolume(n, k.Devices[n].Path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *disk) resumeVolume(node, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if path == "" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the device of %q: %w", node, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return errors.Join(err, f.Close())
	}
	d.devices[node] = &device{path: path, file: f, rdev: st.Rdev}
	return nil
}
