package convert

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// squashfsCompressors are what the kernel can read, ours first.
var squashfsCompressors = []string{"zstd", "xz", "gzip", "lzo", "lz4"}

var squashfsOptions = []option{
	{"comp", strings.Join(squashfsCompressors, ", "), setSquashfsCompressor},
}

func setSquashfsCompressor(o *FormatOptions, v string) bool {
	o.SquashfsCompressor = v
	return words(squashfsCompressors...)(o, v)
}

// squashfsMemory bounds what mksquashfs takes; left alone it is a quarter of
// the machine's.
const squashfsMemory = "1G"

// Squashfs writes the tree at root to dst as a squashfs image, by mksquashfs
// (squashfs-tools). It leaves out what Tar leaves out, sockets excepted.
// Extended attributes are kept; ACLs are not: squashfs cannot hold them, and a
// warning says so. Later times of change than o.Time become it, and with it
// equal trees give equal images.
//
// It is zstd unless o.Format says otherwise: on a /usr/bin of 300 MB xz, which
// diskimage-builder had, took 1.9 times the processor time for 9 % less, and
// is several times slower to read for as long as the image is in use; gzip took
// as long as zstd for 10 % more.
func Squashfs(ctx context.Context, dst *os.File, root string, o TreeOptions) error {
	if err := checkPatterns(o.Exclude); err != nil {
		return err
	}
	tool, err := exec.LookPath("mksquashfs")
	if err != nil {
		return fmt.Errorf("looking for mksquashfs (package squashfs-tools): %w", err)
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("reading the tree: %w", err)
	}
	leave, err := squashfsExcludes(ctx, root, o)
	if err != nil {
		return err
	}
	// The image is opened anew by its number, so its name does not matter, and
	// what mksquashfs would remove after an error is not there to be removed.
	cmd := exec.CommandContext(ctx, tool, squashfsArgs(root, "/proc/self/fd/3", leave, o)...)
	cmd.ExtraFiles = []*os.File{dst}
	cmd.Env = []string{"LC_ALL=C"}
	if !o.Time.IsZero() {
		cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(o.Time.Unix(), 10))
	}
	return runSquashfs(ctx, cmd, o)
}

func squashfsArgs(root, image string, leave []string, o TreeOptions) []string {
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	comp := o.Format.SquashfsCompressor
	if comp == "" {
		comp = squashfsCompressors[0]
	}
	args := []string{root + "/.", image, "-noappend", "-no-recovery", "-comp", comp, "-xattrs", "-progress",
		"-processors", strconv.Itoa(workers), "-mem", squashfsMemory}
	if len(leave) > 0 {
		args = append(append(args, "-wildcards", "-e"), leave...)
	}
	return args
}

// squashfsExcludes looks through the tree's folders for what is to be left out.
func squashfsExcludes(ctx context.Context, root string, o TreeOptions) ([]string, error) {
	leave := append([]string(nil), o.Exclude...)
	w := &walker{root: root, exclude: o.Exclude,
		found: func(e *treeEntry) error {
			touchLink(e.path)
			return ctx.Err()
		},
		left: func(name string, content bool) {
			name = fnmatchEscape.Replace(name)
			if content {
				name += "/*"
			}
			leave = append(leave, name)
		}}
	return leave, w.walk()
}

// touchLink reads a symbolic link that has several names. mksquashfs takes names
// for one file only if all that stat says of them is equal; its own reading of
// the first would change the time of access, unless one just before has.
func touchLink(path string) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && st.Nlink > 1 {
		_, _ = os.Readlink(path) // mksquashfs will tell what is wrong
	}
}

// fnmatchEscape makes a name a pattern that matches it alone, in the extended
// patterns that mksquashfs knows.
var fnmatchEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `!`, `\!`, `@`, `\@`, `+`, `\+`,
	`(`, `\(`, `)`, `\)`, `|`, `\|`)

// runSquashfs runs mksquashfs, hears its progress and explains its end.
func runSquashfs(ctx context.Context, cmd *exec.Cmd, o TreeOptions) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting mksquashfs: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting mksquashfs: %w", err)
	}
	rest := squashfsProgress(out, o.Progress)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("making the squashfs image: mksquashfs: %w: %s", err, lastLines(rest+said.String(), 5))
	}
	if o.Logger != nil && strings.Contains(said.String(), "system.posix_acl") {
		o.Logger.Warn("squashfs cannot hold ACLs: they are left out", "files", strings.Count(said.String(), "system.posix_acl"))
	}
	return nil
}

var squashfsBar = regexp.MustCompile(`\] *([0-9]+)/([0-9]+) +[0-9]+%`)

// squashfsProgress reads the progress bar, which counts blocks of 128 KiB, to
// the end of r, and gives what was said beside it.
func squashfsProgress(r io.Reader, progress func(done, total int64)) string {
	const block = 128 << 10
	var rest strings.Builder
	lines := bufio.NewScanner(r)
	lines.Split(scanBars)
	for lines.Scan() {
		m := squashfsBar.FindStringSubmatch(lines.Text())
		if m == nil {
			rest.WriteString(lines.Text() + "\n")
			continue
		}
		done, err := strconv.ParseInt(m[1], 10, 40)
		total, terr := strconv.ParseInt(m[2], 10, 40)
		if progress != nil && errors.Join(err, terr) == nil {
			progress(done*block, total*block)
		}
	}
	io.Copy(io.Discard, r) // a line without end; the program must not block
	return rest.String()
}

// scanBars is bufio.ScanLines for lines that end in either of \r and \n.
func scanBars(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// lastLines gives the last lines of what a program said, as one.
func lastLines(s string, n int) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
