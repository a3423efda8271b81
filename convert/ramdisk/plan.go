package ramdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Want is something that a ramdisk is to have.
type Want struct {
	Name string
	// From says to people who asked for it and where: "element 'net', ramdisk.yaml,
	// line 3".
	From string
	// Optional: where the tree has none, the ramdisk has none.
	Optional bool
}

// Binary is a program that a ramdisk is to have.
type Binary struct {
	Want // Name is looked for in the target's usual PATH, unless it has a slash
	// AppletDoes: when busybox has an applet of the name, it takes the place of the
	// program.
	AppletDoes bool
}

// File is a file that a ramdisk is to have.
type File struct {
	Want // Name is a path in the tree, where Data is nil; the last part may be a pattern
	// To is the path in the ramdisk; that of the tree where it is empty. Not for
	// patterns.
	To   string
	Mode fs.FileMode // 0: the tree's, or 0644 for Data
	Data []byte
}

// Request says what goes into a ramdisk.
type Request struct {
	Tree string // the finished root file system, an absolute path

	Files    []File
	Binaries []Binary
	// Busybox is the program's path in the tree, empty for none; Applets what it can
	// do. Each has a link, where no program of the name was asked for.
	Busybox string
	Applets []string

	Version    string // of the kernel; no modules where it is empty
	ModuleRoot string // folder of the tree that holds lib/modules; "" is /
	Modules    []Want // names, aliases, folders and patterns below kernel/
	AllModules bool
	Firmware   []Want // names and patterns below /lib/firmware, beside what modules name
}

// Paths where programs are looked for.
var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// WantError says that something which was asked for is not to be had.
type WantError struct {
	Kind string // binary, module, file, firmware
	Want Want
	Err  error
}

func (e *WantError) Error() string {
	return fmt.Sprintf("%s %q, wanted by %s: %v", e.Kind, e.Want.Name, e.Want.From, e.Err)
}

func (e *WantError) Unwrap() error { return e.Err }

// Plan finds out what the ramdisk will hold. It reads the tree and changes nothing.
// Errors about what was asked for are *WantError, all of them joined.
func Plan(r Request) (*Archive, error) {
	p := &planner{r: r, a: NewArchive(), t: newTree(r.Tree)}
	p.l = newLoader(p.t)
	p.layout()
	var errs []error
	for _, add := range []func() []error{p.binaries, p.files, p.modules} {
		errs = append(errs, add()...)
	}
	p.applets()
	errs = append(errs, p.support())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p.a, nil
}

type planner struct {
	r Request
	a *Archive
	t *tree
	l *loader
	// far is set when a library is where the loader looks only because its
	// configuration says so.
	far   bool
	glibc bool
}

// layout makes the folders that every ramdisk has.
func (p *planner) layout() {
	for _, dir := range []string{"dev", "etc", "proc", "root", "run", "sys", "mnt", "usr/bin", "usr/lib", "var/lib", "var/log"} {
		p.a.Dir(dir, 0o755)
	}
	p.a.Dir("tmp", 0o777|fs.ModeSticky)
	for at, to := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "var/run": "../run"} {
		p.a.Link(at, to)
	}
}

// Devices adds the nodes that the first process needs before anything is mounted.
func (a *Archive) Devices() {
	a.Char("dev/console", 0o600, 5, 1)
	a.Char("dev/null", 0o666, 1, 3)
}

// fromTree adds what is at a path of the tree, with the links that lead there.
func (p *planner) fromTree(name string) (followed, error) {
	f := p.t.follow(name)
	if f.err != nil {
		return f, f.err
	}
	for _, l := range f.links {
		p.link(l)
	}
	at := place(f.real)
	if f.info.IsDir() {
		p.a.Dir(at, f.info.Mode())
		return f, nil
	}
	p.wordSize(f.real)
	if !p.a.Has(at) {
		e, err := readEntry(p.t.host(f.real))
		if err != nil || e == nil {
			return f, err
		}
		e.uid, e.gid, e.same = 0, 0, fileID{}
		p.a.put(at, e)
	}
	return f, nil
}

// wordSize makes /lib64 and the like where something is in them.
func (p *planner) wordSize(name string) {
	for _, m := range merged[4:] {
		if strings.HasPrefix(place(name), m.to+"/") {
			p.a.Link(m.from, m.to)
		}
	}
}

// link adds a link of the tree. One that leads from a folder to another which are
// one in the ramdisk is left out, or it would lead to itself.
func (p *planner) link(l link) {
	at, to := place(l.at), place(l.to)
	for _, m := range merged {
		if at == m.to || clean(l.at) == m.from {
			return
		}
	}
	p.wordSize(l.at)
	p.wordSize(l.to)
	if at == to || p.a.Has(at) {
		return
	}
	p.a.Link(at, relative(path.Dir(at), to))
}

// relative is the path from a folder to a file, both without a slash in front.
func relative(dir, to string) string {
	var from []string
	if dir != "." {
		from = strings.Split(dir, "/")
	}
	parts := strings.Split(to, "/")
	for len(from) > 0 && len(parts) > 1 && from[0] == parts[0] {
		from, parts = from[1:], parts[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(parts, "/")
}

func (p *planner) binaries() (errs []error) {
	for _, b := range p.r.Binaries {
		if b.AppletDoes && slices.Contains(p.r.Applets, path.Base(b.Name)) {
			continue
		}
		at := p.which(b.Name)
		if at == "" {
			if slices.Contains(p.r.Applets, path.Base(b.Name)) || b.Optional {
				continue
			}
			errs = append(errs, &WantError{"binary", b.Want, p.notFound(b.Name)})
			continue
		}
		if err := p.program(at); err != nil {
			errs = append(errs, &WantError{"binary", b.Want, err})
			continue
		}
		// It is found in /bin too, whatever PATH is there.
		if short := "usr/bin/" + path.Base(b.Name); !p.a.Has(short) {
			p.a.Link(short, relative("usr/bin", place(p.t.follow(at).real)))
		}
	}
	if p.r.Busybox != "" {
		if err := p.program(p.r.Busybox); err != nil {
			errs = append(errs, fmt.Errorf("adding busybox: %w", err))
		}
	}
	return errs
}

func (p *planner) which(name string) string {
	if strings.Contains(name, "/") {
		if p.t.isFile(name) {
			return name
		}
		return ""
	}
	for _, dir := range programDirs {
		if at := path.Join(dir, name); p.t.isFile(at) && p.t.follow(at).info.Mode()&0o111 != 0 {
			return at
		}
	}
	return ""
}

func (p *planner) notFound(name string) error {
	if strings.Contains(name, "/") {
		return errors.New("the image has no such file")
	}
	return fmt.Errorf("no program of the image in %s has this name; a package with it has to be installed", strings.Join(programDirs, ":"))
}

// program adds a program with all that it needs to start.
func (p *planner) program(name string) error { return p.withNeeds(name, 0) }

func (p *planner) withNeeds(name string, depth int) error {
	f, err := p.fromTree(name)
	if err != nil || !f.info.Mode().IsRegular() {
		return err
	}
	needs, err := p.l.closure(name)
	if err != nil {
		return err
	}
	for _, lib := range needs {
		if _, err := p.fromTree(lib); err != nil {
			return err
		}
		p.note(lib)
	}
	if interpreter := p.interpreter(f); interpreter != "" && depth < 4 {
		return p.withNeeds(interpreter, depth+1)
	}
	return nil
}

// note looks at what a library says of the whole ramdisk.
func (p *planner) note(lib string) {
	p.glibc = p.glibc || path.Base(lib) == "libc.so.6"
	for _, dir := range p.l.conf {
		if path.Dir(lib) == dir {
			p.far = true
		}
	}
}

// interpreter is what a script names behind "#!", where the tree has it.
func (p *planner) interpreter(f followed) string {
	if f.info.Size() < 4 || f.info.Mode()&0o111 == 0 {
		return ""
	}
	line, err := firstLine(p.t.host(f.real))
	if err != nil || !bytes.HasPrefix(line, []byte("#!")) {
		return ""
	}
	words := strings.Fields(string(line[2:]))
	if len(words) > 1 && path.Base(words[0]) == "env" {
		words[0] = p.which(words[1])
	}
	if len(words) == 0 || !p.t.isFile(words[0]) || slices.Contains(p.r.Applets, path.Base(words[0])) {
		return ""
	}
	return words[0]
}

// applets links what busybox can do to it.
func (p *planner) applets() {
	if p.r.Busybox == "" {
		return
	}
	busybox := relative("usr/bin", place(p.t.follow(p.r.Busybox).real))
	for _, name := range p.r.Applets {
		if at := path.Join("usr/bin", path.Base(name)); !p.a.Has(at) {
			p.a.Link(at, busybox)
		}
	}
}

func (p *planner) files() (errs []error) {
	for _, f := range p.r.Files {
		if err := p.file(f); err != nil && !(f.Optional && errors.Is(err, fs.ErrNotExist)) {
			errs = append(errs, &WantError{"file", f.Want, err})
		}
	}
	return errs
}

func (p *planner) file(f File) error {
	if f.Data != nil {
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		p.wordSize(f.To)
		p.a.Data(place(f.To), mode, f.Data)
		return nil
	}
	names := []string{f.Name}
	if strings.ContainsAny(f.Name, `*?[`) {
		var err error
		if names, err = p.t.glob(f.Name); err != nil {
			return err
		}
		if len(names) == 0 {
			return fmt.Errorf("nothing in the image fits: %w", fs.ErrNotExist)
		}
	}
	for _, name := range names {
		if err := p.oneFile(name, f); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) oneFile(name string, f File) error {
	found := p.t.follow(name)
	if found.err != nil {
		return found.err
	}
	if found.info.IsDir() {
		return p.folder(name)
	}
	if err := p.withNeeds(name, 0); err != nil {
		return err
	}
	at := place(found.real)
	if f.To != "" && place(f.To) != at {
		p.wordSize(f.To)
		e := *p.a.entries[at]
		p.a.put(place(f.To), &e)
		at = place(f.To)
	}
	if f.Mode != 0 {
		e := p.a.entries[at]
		e.mode = e.mode&unix.S_IFMT | uint32(f.Mode.Perm()) | sticky(f.Mode)
	}
	return nil
}

// folder adds a folder of the tree with everything below it.
func (p *planner) folder(name string) error {
	if _, err := p.fromTree(name); err != nil {
		return err
	}
	inside, err := p.t.glob(path.Join(name, "*"))
	if err != nil {
		return err
	}
	for _, each := range inside {
		f := p.t.follow(each)
		if f.err == nil && f.info.IsDir() && len(f.links) == 0 {
			err = p.folder(each)
		} else if f.err == nil && f.info.Mode().IsRegular() {
			err = p.withNeeds(each, 0)
		} else {
			for _, l := range f.links { // one that leads nowhere stays one
				p.link(l)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// support adds what glibc opens by itself: libgcc_s, which it aborts without when a
// thread is cancelled, and the loader's cache where libraries lie apart.
func (p *planner) support() error {
	if p.far {
		if _, err := p.fromTree("/etc/ld.so.cache"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !p.glibc {
		return nil
	}
	for _, name := range p.a.Names() {
		if path.Base(name) != "libc.so.6" {
			continue
		}
		gcc := path.Join("/", path.Dir(name), "libgcc_s.so.1")
		if !p.t.isFile(gcc) {
			continue
		}
		if err := p.withNeeds(gcc, 0); err != nil {
			return err
		}
	}
	return nil
}
