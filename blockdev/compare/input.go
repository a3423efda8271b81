package compare

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// input is one of the two things to be compared.
type input struct {
	path string
	dir  string // a folder; else
	file region // the file as it lies there
	// content is what is in the file: itself, or unwrapped.
	content region
	layers  []string // of wrapping, the outermost first: gzip, qcow2
	tar     *tarTree
	open    []io.Closer
}

func openInput(path string) (*input, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	in := &input{path: path, open: []io.Closer{f}}
	st, err := f.Stat()
	if err == nil {
		switch mode := st.Mode(); {
		case mode.IsDir():
			in.dir = path
		case mode.IsRegular(), mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
			var size int64
			if size, err = f.Seek(0, io.SeekEnd); err == nil {
				in.file = region{f, 0, size}
			}
		default:
			err = fmt.Errorf("%s is neither a file, a folder nor a disk", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, in.close())
	}
	in.content = in.file
	return in, nil
}

func (in *input) close() (err error) {
	for _, c := range in.open {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (in *input) isTree() bool { return in.dir != "" || in.tar != nil }

func (in *input) what() string {
	kind := "a disk"
	switch {
	case in.dir != "":
		return "a folder"
	case in.tar != nil:
		kind = "a tar archive"
	case len(in.layers) == 0:
		return "a raw disk"
	}
	if len(in.layers) > 0 {
		kind += " in " + strings.Join(in.layers, " in ")
	}
	return kind
}

// compressions are known by their first bytes.
var compressions = []struct {
	magic, name string
	open        func(r io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b\x08", "gzip", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"\x28\xb5\x2f\xfd", "zstd", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderLowmem(true))
	}},
	{"\xfd7zXZ\x00", "xz", func(r io.Reader) (io.Reader, error) {
		return xz.ReaderConfig{DictCap: 64 << 20}.NewReader(r)
	}},
	{"BZh", "bzip2", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
}

// wrapping names what the content is wrapped in, "" for nothing.
func (in *input) wrapping() string { return wrappingOf(in.content) }

func wrappingOf(r region) string {
	head := r.bytes(0, 1024)
	for _, c := range compressions {
		if bytes.HasPrefix(head, []byte(c.magic)) {
			return c.name
		}
	}
	at := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	switch {
	case at(0, "QFI\xfb"):
		return "qcow2"
	case at(0, "vhdxfile"):
		return "vhdx"
	case at(0, "KDMV"):
		return "vmdk"
	case at(0x40, "\x7f\x10\xda\xbe"):
		return "vdi"
	case string(r.bytes(r.size-512, 8)) == "conectix":
		return "vhd"
	}
	return ""
}

// unwrap finds what is in the file: a disk, or an archive.
func (in *input) unwrap(ctx context.Context, o Options) error {
	if in.dir != "" {
		return nil
	}
	const most = 3
	for {
		kind := in.wrapping()
		if kind == "" || len(in.layers) == most {
			break
		}
		content, err := in.inner(ctx, kind, o)
		if err != nil {
			return fmt.Errorf("reading %s: %w", kind, err)
		}
		in.layers, in.content = append(in.layers, kind), content
	}
	if !isTar(in.content) {
		return nil
	}
	t, err := openTar(in.content, func() (*os.File, error) { return in.temp(o) })
	in.tar = t
	return err
}

// temp makes a file that ends with the input.
func (in *input) temp(o Options) (*os.File, error) {
	f, err := o.tempFile()
	if err == nil {
		in.open = append(in.open, f)
	}
	return f, err
}

// inner gives what is in one layer of wrapping.
func (in *input) inner(ctx context.Context, kind string, o Options) (region, error) {
	if kind == "vhd" && le.Uint32(in.content.bytes(in.content.size-512+0x3c, 4)) == 2<<24 { // fixed: the disk, then a footer
		return in.content.part(0, in.content.size-512), nil
	}
	out, err := in.temp(o)
	if err != nil {
		return region{}, err
	}
	for _, c := range compressions {
		if c.name != kind {
			continue
		}
		r, err := c.open(cancelled{ctx, io.NewSectionReader(in.content, 0, in.content.size)})
		if err != nil {
			return region{}, err
		}
		n, err := copySparse(out, 0, r)
		if err == nil {
			err = out.Truncate(n)
		}
		return region{out, 0, n}, err
	}
	return in.convert(ctx, kind, out)
}

// cancelled is a reader that ends with ctx.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// ToolError says that a program is needed that is not there.
type ToolError struct{ Tool, For string }

func (e *ToolError) Error() string {
	return fmt.Sprintf("reading %s needs %s, which is not installed", e.For, e.Tool)
}

var qemuNames = map[string]string{"vhd": "vpc"}

// convert has qemu-img write the disk into out. It gets open files: nothing is
// left behind when it or this process is killed.
func (in *input) convert(ctx context.Context, kind string, out *os.File) (region, error) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return region{}, &ToolError{"qemu-img", kind}
	}
	if kind == "qcow2" {
		if err := aloneInFile(in.content); err != nil {
			return region{}, err
		}
	}
	name := kind
	if q := qemuNames[kind]; q != "" {
		name = q
	}
	info, err := in.qemuImg(ctx, out, "info", "--output=json", "-f", name, "/proc/self/fd/3")
	if err != nil {
		return region{}, err
	}
	var disk struct {
		Size    int64  `json:"virtual-size"`
		Backing string `json:"backing-filename"`
	}
	if err := json.Unmarshal(info, &disk); err != nil {
		return region{}, fmt.Errorf("what qemu-img info says: %w", err)
	}
	if disk.Backing != "" {
		return region{}, fmt.Errorf("it stands on another file, %q: make it stand alone first (qemu-img convert)", disk.Backing)
	}
	if err := out.Truncate(disk.Size); err != nil {
		return region{}, err
	}
	_, err = in.qemuImg(ctx, out, "convert", "-n", "--target-is-zero", "-f", name, "-O", "raw", "/proc/self/fd/3", "/proc/self/fd/4")
	return region{out, 0, disk.Size}, err
}

// aloneInFile refuses a qcow2 that would have qemu-img read other files.
func aloneInFile(r region) error {
	h := r.bytes(0, 104)
	const dataFile = 1 << 2 // of the incompatible features
	if len(h) < 32 {
		return io.ErrUnexpectedEOF
	}
	version := h[7]
	if !allZero(h[8:16]) || version >= 3 && len(h) >= 80 && h[79]&dataFile != 0 {
		return errors.New("it stands on another file: make it stand alone first (qemu-img convert)")
	}
	return nil
}

func (in *input) qemuImg(ctx context.Context, out *os.File, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.ExtraFiles = []*os.File{in.content.f, out}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	b, err := cmd.Output()
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	} else if err != nil {
		err = context.Cause(ctx)
	}
	return b, err
}

// isTar knows archives by the mark of POSIX and GNU.
func isTar(r region) bool { return string(r.bytes(257, 5)) == "ustar" }
