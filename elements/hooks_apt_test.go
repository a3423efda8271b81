package elements

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAptFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "apt-conf", "apt-sources", "apt-preferences")
	w.write(map[string]string{"etc/apt/apt.conf": "old", "etc/apt/sources.list.d/default.list": "deb x", "etc/apt/sources.list.d/keep.txt": "y"})
	for _, hook := range []string{"00-apt-conf", "00-apt-sources", "00-apt-preferences"} {
		if out := w.must(nil, "pre-install.d/"+hook); !strings.Contains(out, "is not set") {
			t.Errorf("%s without its variable says %q", hook, out)
		}
	}
	w.has("etc/apt/apt.conf", "old")
	w.has("etc/apt/sources.list.d/default.list", "deb x")

	here := "tmp/in_target.d/pre-install.d/"
	w.write(map[string]string{here + "apt-conf.conf": "APT::x \"y\";\n", here + "apt-sources.list": "deb http://m/debian bookworm main\n",
		here + "apt-preferences.json": "{\"packages\": [\n {\"package\": \"libc6:amd64\", \"arch\": \"amd64\", \"version\": \"2.36-9+deb12u1\", \"status\": \"ii \"},\n" +
			" {\n  \"version\":\"1:2.0~rc1\",\n  \"package\":\"vim\"\n }\n]}\n"})
	for _, hook := range []string{"00-apt-conf", "00-apt-sources", "00-apt-preferences"} {
		w.must(nil, "pre-install.d/"+hook)
	}
	w.has("etc/apt/apt.conf", "APT::x \"y\";\n")
	w.has("etc/apt/sources.list", "deb http://m/debian bookworm main\n")
	w.has("etc/apt/sources.list.d/default.list", "")
	w.has("etc/apt/sources.list.d/keep.txt", "y")
	w.has("etc/apt/preferences", "Package: libc6:amd64\nPin: version 2.36-9+deb12u1\nPin-Priority: 1001\n\n"+
		"Package: vim\nPin: version 1:2.0~rc1\nPin-Priority: 1001\n\n")
	w.write(map[string]string{here + "apt-preferences.json": "[]"})
	w.refuses(nil, "lists no package", "pre-install.d/00-apt-preferences")
}

// The cache key of apt-sources asks about what can be asked, and repeats the rest.
func TestAptSourcesCacheKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, _, err := Library{Builtin()}.load("apt-sources")
	if err != nil {
		t.Fatal(err)
	}
	if err := mustMerge(t, e).WriteTo(dir + "/hooks"); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"hooks/pre-install.d/apt-sources.list": "# mine\ndeb [arch=amd64 signed-by=/k] http://m/debian bookworm main contrib # x\n\ndeb https://f/repo ./\ndeb cdrom:x y z\n",
		"bin/apt-suite-digest":                 "#!/bin/sh\necho \"asked $*\"\n",
	})
	if err := os.Chmod(dir+"/bin/apt-suite-digest", 0o755); err != nil {
		t.Fatal(err)
	}
	code, out := outside(t, dir+"/bin", []string{"ARCH=amd64"}, dir+"/hooks/cache-key.d/10-apt-sources")
	want := "asked http://m/debian bookworm main,contrib amd64\nasked https://f/repo ./ amd64\ndeb cdrom:x y z\n"
	if got := strings.TrimLeft(strings.ReplaceAll(out, "   \n", ""), "\n "); code != 0 || got != want {
		t.Errorf("code %d, %q, want %q", code, got, want)
	}
}

const nobleSources = `# comment
Types: deb
URIs: http://archive.ubuntu.com/ubuntu/
Suites: noble noble-updates
Components: main universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.ubuntu.com/ubuntu/
Suites: noble-security
Components: main
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
`

func TestUbuntuMirror(t *testing.T) {
	t.Parallel()
	const hook, signed = "pre-install.d/00-apt-ubuntu-mirror", "Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n\n"
	stanza := func(uri, suite, components string) string {
		return "Types: deb\nURIs: " + uri + "\nSuites: " + suite + "\nComponents: " + components + "\n" + signed
	}
	list := "deb http://archive.ubuntu.com/ubuntu/ jammy main\n# deb http://x y z\ndeb [arch=amd64] http://archive.ubuntu.com/ubuntu/ jammy universe\ndeb-src http://s/ jammy main\n"
	env := func(given, ignore, insecure, verify string) []string {
		return []string{"DIB_DISTRIBUTION_MIRROR=http://mirror/ubuntu", "DIB_UBUNTU_MIRROR_GIVEN=" + given, "DIB_DISTRIBUTION_MIRROR_UBUNTU_IGNORE=" + ignore,
			"DIB_DISTRIBUTION_MIRROR_UBUNTU_INSECURE=" + insecure, "DIB_DISTRIBUTION_MIRROR_VERIFY_HTTPS=" + verify, "SIGNED_BY="}
	}
	w := newWorld(t, "ubuntu")
	w.write(map[string]string{"etc/apt/sources.list.d/ubuntu.sources": nobleSources, "etc/apt/sources.list": list, "etc/apt/apt.conf.d/x": ""})
	w.must(env("no", "", "", "1"), hook)
	w.has("etc/apt/sources.list.d/ubuntu.sources", nobleSources)
	w.has("etc/apt/sources.list", list)
	w.has("etc/apt/apt.conf.d/95dib-ubuntu-insecure", "")

	w.must(env("yes", "", "1", "0"), hook)
	w.has("etc/apt/sources.list", "deb http://mirror/ubuntu jammy main\n# deb http://x y z\ndeb [arch=amd64] http://mirror/ubuntu jammy universe\ndeb-src http://mirror/ubuntu jammy main\n")
	w.has("etc/apt/sources.list.d/ubuntu.sources", stanza("http://mirror/ubuntu", "noble", "main universe multiverse")+
		stanza("http://mirror/ubuntu", "noble-updates", "main universe multiverse")+stanza("http://mirror/ubuntu", "noble-security", "main"))
	w.has("etc/apt/apt.conf.d/95dib-ubuntu-https", "Acquire::https::Verify-Peer \"false\";\n")
	if !strings.Contains(w.read("etc/apt/apt.conf.d/95dib-ubuntu-insecure"), "AllowUnauthenticated") {
		t.Error("insecure mirrors are not allowed")
	}

	w.write(map[string]string{"etc/apt/sources.list.d/ubuntu.sources": nobleSources, "etc/apt/sources.list": list})
	w.must(env("yes", "(universe|multiverse)|noble-security", "", "1"), hook)
	w.has("etc/apt/sources.list", "deb http://mirror/ubuntu jammy main\n# deb http://x y z\ndeb [arch=amd64] http://archive.ubuntu.com/ubuntu/ jammy universe\ndeb-src http://mirror/ubuntu jammy main\n")
	const archive = "http://archive.ubuntu.com/ubuntu/"
	w.has("etc/apt/sources.list.d/ubuntu.sources", stanza("http://mirror/ubuntu", "noble", "main")+stanza(archive, "noble", "universe multiverse")+
		stanza("http://mirror/ubuntu", "noble-updates", "main")+stanza(archive, "noble-updates", "universe multiverse")+
		stanza("http://security.ubuntu.com/ubuntu/", "noble-security", "main"))

	w.write(map[string]string{"etc/apt/sources.list.d/ubuntu.sources": nobleSources})
	w.must(append(env("yes", "noble-(updates|security)", "", "1"), "SIGNED_BY=/etc/apt/keyrings/mirror.gpg"), hook)
	w.has("etc/apt/sources.list.d/ubuntu.sources", strings.Replace(stanza("http://mirror/ubuntu", "noble", "main universe multiverse"), signed, "Signed-By: /etc/apt/keyrings/mirror.gpg\n\n", 1)+
		stanza(archive, "noble-updates", "main universe multiverse")+stanza("http://security.ubuntu.com/ubuntu/", "noble-security", "main"))
}

// cloudServer is a folder with a cloud image, and a cache-url that copies from it
// and counts.
func cloudServer(t *testing.T) (dir, hooks string) {
	t.Helper()
	dir = t.TempDir()
	e, _, err := Library{Builtin()}.load("ubuntu")
	if err != nil {
		t.Fatal(err)
	}
	if err := mustMerge(t, e).WriteTo(dir + "/hooks"); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"tree/etc/os-release": "ID=ubuntu\n", "tree/dev/null2": "x", "tree/usr/bin/tool": "#!/bin/sh\n",
		"bin/cache-url": "#!/bin/sh\necho \"$*\" >> \"$SERVER/asked\"\n[ \"$1\" != -f ] || shift\ncp \"$SERVER/${1##*/}\" \"$2\"\n",
	})
	if err := os.Chmod(dir+"/bin/cache-url", 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, dir + "/hooks"
}

func sumLine(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x *%s\n", sha256.Sum256(data), filepath.Base(file))
}

func TestUbuntuCloudImage(t *testing.T) {
	t.Parallel()
	dir, hooks := cloudServer(t)
	need(t, "unsquashfs")
	for _, argv := range [][]string{
		{need(t, "mksquashfs"), dir + "/tree", dir + "/noble.squashfs", "-quiet", "-no-progress"},
		{need(t, "tar"), "-C", dir + "/tree", "-cJf", dir + "/noble.tar.xz", "."},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	write(t, dir, map[string]string{"noble.img": "disk", "SHA256SUMS": ""})
	sums := sumLine(t, dir+"/noble.squashfs") + sumLine(t, dir+"/noble.tar.xz") + sumLine(t, dir+"/noble.img")
	write(t, dir, map[string]string{"SHA256SUMS": sums})
	run := func(file, more string) (int, string, string) {
		target := t.TempDir()
		_ = os.Remove(dir + "/asked")
		code, out := outside(t, dir+"/bin", append(strings.Fields(more), "SERVER="+dir, "TARGET_ROOT="+target, "DIB_IMAGE_CACHE="+dir+"/cache", "DIB_CLOUD_IMAGES=http://c",
			"BASE_IMAGE_FILE="+file, "SHA256SUMS=http://c/SHA256SUMS"), hooks+"/root.d/08-ubuntu-cloud-image")
		if code == 0 {
			if _, err := os.Stat(target + "/usr/bin/tool"); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if _, err := os.Stat(target + "/dev/null2"); err == nil {
				t.Errorf("%s: /dev has content", file)
			}
		}
		asked, _ := os.ReadFile(dir + "/asked")
		return code, out, strings.ReplaceAll(strings.ReplaceAll(string(asked), dir, ""), "http://c", "")
	}
	const sumsCall = "/SHA256SUMS /cache/noble.squashfs.SHA256SUMS\n"
	const imageCall = "/noble.squashfs /cache/noble.squashfs\n"
	for _, c := range []struct {
		what, file, more, break_, asked, says string
		code                                  int
	}{
		{"first", "noble.squashfs", "DIB_LOCAL_IMAGE=", "", sumsCall + imageCall, "", 0},
		{"cached", "noble.squashfs", "DIB_LOCAL_IMAGE=", "", sumsCall, "", 0},
		{"cache broken", "noble.squashfs", "DIB_LOCAL_IMAGE=", "cache/noble.squashfs", sumsCall + imageCall, "", 0},
		{"offline", "noble.squashfs", "DIB_LOCAL_IMAGE= DIB_OFFLINE=1", "", "", "", 0},
		{"offline, broken", "noble.squashfs", "DIB_LOCAL_IMAGE= DIB_OFFLINE=1", "cache/noble.squashfs", "", "checksum is not", 1},
		{"local", "noble.squashfs", "DIB_LOCAL_IMAGE=" + dir + "/noble.tar.xz", "", "", "", 0},
		{"tar", "noble.tar.xz", "DIB_LOCAL_IMAGE=", "", "/SHA256SUMS /cache/noble.tar.xz.SHA256SUMS\n/noble.tar.xz /cache/noble.tar.xz\n", "", 0},
		{"local, missing", "x", "DIB_LOCAL_IMAGE=/nowhere.squashfs", "", "", "is no file", 1},
		{"disk", "noble.img", "DIB_LOCAL_IMAGE=", "", "/SHA256SUMS /cache/noble.img.SHA256SUMS\n/noble.img /cache/noble.img\n", "taken are", 1},
		{"unlisted", "other.squashfs", "DIB_LOCAL_IMAGE=", "", "/SHA256SUMS /cache/other.squashfs.SHA256SUMS\n", "has no checksum of other.squashfs", 1},
		{"server broken", "noble.squashfs", "DIB_LOCAL_IMAGE=", "noble.squashfs", sumsCall + imageCall + "-f " + sumsCall + "-f " + imageCall, "fetching it once more", 1},
	} {
		if c.break_ != "" {
			write(t, dir, map[string]string{c.break_: "broken", "cache/noble.squashfs": "broken"})
		}
		code, out, asked := run(c.file, c.more)
		if code != c.code || asked != c.asked || !strings.Contains(out, c.says) {
			t.Errorf("%s: code %d, asked %q, want %q\n%s", c.what, code, asked, c.asked, out)
		}
	}
}

func TestUbuntuMinimalSources(t *testing.T) {
	t.Parallel()
	l := Library{Builtin()}
	els, err := l.Resolve("ubuntu-minimal")
	if err != nil {
		t.Fatal(err)
	}
	tree := mustMerge(t, els...)
	env := sourceTree(t, tree)
	dir := t.TempDir()
	if err := tree.WriteTo(dir + "/hooks"); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"root/etc/apt/sources.list.d/ubuntu.sources": "x", "root/var/lib/apt/lists/lithify-bootstrap": ""})
	given := []string{"TARGET_ROOT=" + dir + "/root"}
	for _, name := range []string{"DIB_APT_SOURCES_CONF", "DIB_DISTRIBUTION_MIRROR", "DIB_RELEASE", "DIB_DEBIAN_COMPONENTS"} {
		given = append(given, name+"="+env[name])
	}
	if code, out := outside(t, "/bin", given, dir+"/hooks/root.d/75-ubuntu-minimal-sources"); code != 0 {
		t.Fatalf("code %d\n%s", code, out)
	}
	got, err := os.ReadFile(dir + "/root/etc/apt/sources.list")
	want := "deb http://archive.ubuntu.com/ubuntu noble main universe\n"
	for _, suite := range []string{"updates", "security", "backports"} {
		want += "deb http://archive.ubuntu.com/ubuntu noble-" + suite + " main universe\n"
	}
	if err != nil || string(got) != want {
		t.Errorf("%v: %s", err, got)
	}
	if _, err := os.Stat(dir + "/root/etc/apt/sources.list.d/ubuntu.sources"); err == nil {
		t.Error("the release's own sources are still there")
	}
	if _, err := os.Stat(dir + "/root/var/lib/apt/lists/lithify-sources"); err != nil {
		t.Error(err)
	}
}

func TestCacheURL(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	dir := t.TempDir()
	script := dir + "/bin/cache-url"
	write(t, dir, map[string]string{"bin/cache-url": string(builtinFiles(t)["cache-url"]["bin/cache-url"]), "local": "from a file"})
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	content := "one"
	var last http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r.Header
		switch r.URL.Path {
		case "/file", "/moved":
			http.ServeContent(w, r, "file", modified, strings.NewReader(content))
		case "/elsewhere":
			http.Redirect(w, r, "/file", http.StatusFound)
		case "/secret":
			w.WriteHeader(http.StatusForbidden)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	call := func(args string) int {
		words := strings.Fields(strings.ReplaceAll(strings.ReplaceAll(args, "URL", server.URL), "DIR", dir))
		cmd := exec.Command("bash", append([]string{script}, words...)...)
		cmd.Env = []string{"PATH=" + dir + "/bin:/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return cmd.ProcessState.ExitCode()
	}
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, file, want string
		code             int
	}{
		{"URL/none DIR/new/x", "new/x", "", 44},
		{"URL/secret DIR/new/x", "new/x", "", 1},
		{"URL/elsewhere DIR/new/x", "new/x", "one", 0},
		{"URL/file DIR/new/x", "new/x", "one", 0}, // 304: the new content is not asked for
		{"URL/none DIR/new/x", "new/x", "one", 44},
		{"file://DIR/local DIR/new/y", "new/y", "from a file", 0},
		{"file://DIR/nothing DIR/new/y", "new/y", "from a file", 1},
		{"http://127.0.0.1:1/ DIR/new/y", "new/y", "from a file", 1},
		{"URL/file", "new/y", "from a file", 1},
	} {
		code := call(c.args)
		got, _ := os.ReadFile(dir + "/" + c.file)
		if code != c.code || string(got) != c.want {
			t.Errorf("cache-url %s: code %d, %q; want %d, %q", c.args, code, got, c.code, c.want)
		}
		content = "two"
		if c.want == "" {
			content = "one"
		}
	}
	if info, err := os.Stat(dir + "/new/x"); err != nil || !info.ModTime().Equal(modified) {
		t.Errorf("the file's time is not the server's: %v, %v", info.ModTime(), err)
	}
	modified = modified.Add(time.Hour)
	if code := call("-f URL/file DIR/new/x"); code != 0 || last.Get("Cache-Control") != "no-cache" {
		t.Errorf("-f: code %d, Cache-Control %q", code, last.Get("Cache-Control"))
	}
	if got, _ := os.ReadFile(dir + "/new/x"); string(got) != "two" {
		t.Errorf("a newer file was not taken: %q", got)
	}
	if left, _ := filepath.Glob(dir + "/new/.cache-url.*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
	// lithify's own command comes first where there is one.
	write(t, dir, map[string]string{"own/cache-url": "#!/bin/sh\nexit 9\n"})
	if err := os.Chmod(dir+"/own/cache-url", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", script, "a", "b")
	cmd.Env = []string{"PATH=" + dir + "/own:" + dir + "/bin:/usr/bin:/bin"}
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("the command in PATH was not called: code %d", cmd.ProcessState.ExitCode())
	}
}
