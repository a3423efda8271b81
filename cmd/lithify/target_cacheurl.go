package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// cacheURLMissing is the exit code that tells callers that the server has no
// such file.
const cacheURLMissing = 44

// Between the tries of a download; variables for tests.
var (
	downloadTries = 4
	downloadPause = 30 * time.Second
)

// cacheURLMain is cache-url [-f] URL FILE: it downloads URL to FILE unless FILE
// is as new as what the server has.
func cacheURLMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "cache-url"
	flags := flagsFor(name, "[-f] URL FILE", stdout)
	force := flags.BoolP("force", "f", false, "ask caches on the way to look again")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	if flags.NArg() != 2 {
		return finish(stderr, name, errors.New("a URL and a FILE are needed"))
	}
	d := download{address: flags.Arg(0), file: flags.Arg(1), revalidate: *force, env: env}
	changed, err := d.run(ctx)
	if err == nil && getenv(env, "DIB_DEBUG_TRACE") > "0" {
		fmt.Fprintf(stderr, "%s: %s: changed: %t\n", name, d.address, changed)
	}
	return finish(stderr, name, err)
}

// download is one file that is wanted from a server.
type download struct {
	address, file string
	revalidate    bool
	env           []string // for curl, which ftp is left to
}

// run brings the file up to date and says whether it was replaced. The file is
// replaced in one move, or, when it is a fifo, written into.
func (d download) run(ctx context.Context) (changed bool, err error) {
	from, err := url.Parse(d.address)
	if err != nil {
		return false, err
	}
	var try func(context.Context, *url.URL) (bool, error)
	switch from.Scheme {
	case "http", "https":
		try = d.http
	case "file":
		try = d.local
	case "ftp", "ftps":
		try = d.curl
	default:
		return false, fmt.Errorf("downloading %q: addresses begin with http, https, ftp or file", d.address)
	}
	if err := os.MkdirAll(filepath.Dir(d.file), 0o755); err != nil {
		return false, err
	}
	for left := downloadTries - 1; ; left-- {
		changed, err = try(ctx, from)
		var again transientError
		if err == nil || left <= 0 || !errors.As(err, &again) {
			break
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(downloadPause):
		}
	}
	if err != nil {
		return false, fmt.Errorf("downloading %q: %w", from.Redacted(), err)
	}
	return changed, nil
}

// transientError is one that may be gone in half a minute.
type transientError struct{ error }

func (e transientError) Unwrap() error { return e.error }

// downloader never unpacks: what is stored is what the server has.
var downloader = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true,
	DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 20 * time.Second,
}}

func (d download) http(ctx context.Context, from *url.URL) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return false, err
	}
	request.Header.Set("User-Agent", "lithify")
	info, err := os.Stat(d.file)
	conditional := err == nil && info.Mode().IsRegular() && info.Size() > 0
	if conditional {
		request.Header.Set("If-Modified-Since", info.ModTime().UTC().Format(http.TimeFormat))
	}
	if d.revalidate {
		request.Header.Set("Cache-Control", "no-cache")
		request.Header.Set("Pragma", "no-cache")
	}
	answer, err := downloader.Do(request)
	if err != nil {
		return false, transient(err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusOK:
		made, _ := http.ParseTime(answer.Header.Get("Last-Modified"))
		return d.store(answer.Body, made, conditional)
	case answer.StatusCode == http.StatusNotModified && conditional:
		return false, nil
	case answer.StatusCode == http.StatusNotFound:
		return false, codeError{cacheURLMissing, errors.New("the server has no such file (404)")}
	}
	err = fmt.Errorf("the server answers %s", answer.Status)
	if slices.Contains([]int{408, 429, 500, 502, 503, 504}, answer.StatusCode) {
		err = transientError{err}
	}
	return false, err
}

// transient marks what may go away: time-outs, names that are not found now,
// connections that broke. One that is refused stays so.
func transient(err error) error {
	var network net.Error
	var name *net.DNSError
	if errors.As(err, &network) && network.Timeout() || errors.As(err, &name) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return transientError{err}
	}
	return err
}

// store writes the content beside the file and renames it. Nothing after a
// conditional request means: not changed.
func (d download) store(content io.Reader, made time.Time, conditional bool) (bool, error) {
	if info, err := os.Stat(d.file); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return true, d.pour(content)
	}
	part, err := os.CreateTemp(filepath.Dir(d.file), ".cache-url-")
	if err != nil {
		return false, err
	}
	defer os.Remove(part.Name())
	size, err := io.Copy(part, content)
	if err = errors.Join(err, part.Chmod(0o644), part.Close()); err != nil {
		return false, transient(err)
	}
	if size == 0 && conditional {
		return false, nil
	}
	if !made.IsZero() {
		if err := os.Chtimes(part.Name(), made, made); err != nil {
			return false, err
		}
	}
	return true, os.Rename(part.Name(), d.file)
}

func (d download) pour(content io.Reader) error {
	f, err := os.OpenFile(d.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// local copies a file of this host, unless the copy has its size and time.
func (d download) local(_ context.Context, from *url.URL) (bool, error) {
	f, err := os.Open(from.Path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%q is no file", from.Path)
	}
	if have, err := os.Stat(d.file); err == nil && have.Mode().IsRegular() && have.Size() == info.Size() && have.ModTime().Equal(info.ModTime()) {
		return false, nil
	}
	return d.store(f, info.ModTime(), false)
}

// curl fetches by ftp, which the standard library does not speak.
func (d download) curl(ctx context.Context, from *url.URL) (bool, error) {
	part, err := os.CreateTemp(filepath.Dir(d.file), ".cache-url-")
	if err != nil {
		return false, err
	}
	defer os.Remove(part.Name())
	if err := part.Close(); err != nil {
		return false, err
	}
	args := []string{"--silent", "--show-error", "--globoff", "--remote-time", "--connect-timeout", "10", "--output", part.Name()}
	info, err := os.Stat(d.file)
	conditional := err == nil && info.Mode().IsRegular() && info.Size() > 0
	if conditional {
		args = append(args, "--time-cond", d.file)
	}
	cmd := exec.CommandContext(ctx, "curl", append(args, "--", from.String())...)
	cmd.Env = d.env
	if said, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("running curl: %w: %s", err, lastLine(said))
	}
	got, err := os.Open(part.Name())
	if err != nil {
		return false, err
	}
	defer got.Close()
	info, err = got.Stat()
	if err != nil {
		return false, err
	}
	return d.store(got, info.ModTime(), conditional)
}
