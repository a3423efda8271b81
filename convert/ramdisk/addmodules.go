package ramdisk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// modules adds the modules that were asked for, what they need, their firmware, and
// the lists that modprobe reads.
func (p *planner) modules() (errs []error) {
	if p.r.Version == "" {
		for _, w := range p.r.Modules {
			if !w.Optional {
				errs = append(errs, &WantError{"module", w, errors.New("the image has no kernel with modules")})
			}
		}
		return append(errs, p.firmware(nil)...)
	}
	dir := path.Join("/", p.r.ModuleRoot, "lib/modules", p.r.Version)
	m, err := readModules(p.t, dir)
	if err != nil {
		return []error{fmt.Errorf("reading which modules kernel %s has: %w", p.r.Version, err)}
	}
	files, errs := p.chooseModules(m)
	if err := p.putModules(m, files); err != nil {
		return append(errs, err)
	}
	var modules []string
	for _, file := range files {
		modules = append(modules, p.t.host(path.Join(m.dir, file)))
	}
	return append(errs, p.firmware(modules)...)
}

// chooseModules gives the modules that were asked for, with what they need.
func (p *planner) chooseModules(m *modules) (files []string, errs []error) {
	if p.r.AllModules {
		files = m.all()
	}
	for _, w := range p.r.Modules {
		named, err := m.named(w.Name)
		if errors.Is(err, errNoModule) {
			err = fmt.Errorf("kernel %s has no such module", p.r.Version)
			if w.Optional {
				continue
			}
		}
		if err != nil {
			errs = append(errs, &WantError{"module", w, err})
		}
		files = append(files, named...)
	}
	return m.withNeeds(files), errs
}

// putModules adds the files of modules, and the lists.
func (p *planner) putModules(m *modules, files []string) error {
	lists, err := m.lists()
	if err != nil {
		return err
	}
	// modprobe looks below /lib/modules, wherever the image has them.
	to := path.Join("usr/lib/modules", p.r.Version)
	for _, file := range slices.Concat(files, lists) {
		e, err := readEntry(p.t.host(path.Join(m.dir, file)))
		if err != nil {
			return fmt.Errorf("adding module %q: %w", file, err)
		}
		e.uid, e.gid, e.same = 0, 0, fileID{}
		p.a.put(path.Join(to, file), e)
	}
	return nil
}

// firmware adds what modules name, where the image has it, and what was asked for,
// which it must have.
func (p *planner) firmware(modules []string) (errs []error) {
	if p.t.follow("/lib/firmware").err == nil {
		wanted := map[string]bool{}
		for _, file := range modules {
			names, err := firmwareOf(file)
			if err != nil {
				errs = append(errs, err)
			}
			for _, name := range names {
				wanted[name] = true
			}
		}
		for name := range wanted {
			if _, err := p.addFirmware(name); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, w := range p.r.Firmware {
		found, err := p.addFirmware(w.Name)
		if err == nil && found == 0 && !w.Optional {
			err = errors.New("the image has none of this name below /lib/firmware")
		}
		if err != nil {
			errs = append(errs, &WantError{"firmware", w, err})
		}
	}
	return errs
}

func (p *planner) addFirmware(name string) (int, error) {
	files, err := p.t.firmwareFiles(p.r.Version, name)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		f := p.t.follow(file)
		if f.err == nil && f.info.IsDir() {
			err = p.folder(file)
		} else {
			_, err = p.fromTree(file)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a link to what is not installed
			return 0, fmt.Errorf("adding firmware %q: %w", file, err)
		}
	}
	return len(files), nil
}

// firstLine is the beginning of a file up to its first line's end, as far as the
// kernel reads it.
func firstLine(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 256)).ReadBytes('\n')
	if err == io.EOF {
		err = nil
	}
	return line, err
}
