package compare_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/compare"
)

// dockerArchive packs layers as docker save does.
func dockerArchive(t *testing.T, env string, layers ...map[string]string) string {
	t.Helper()
	need(t, "tar")
	dir := t.TempDir()
	var names, ids []string
	for i, files := range layers {
		tree := putTree(t, files)
		name := fmt.Sprintf("layer%d.tar", i)
		run(t, "", "tar", "-C", tree, "--sort=name", "--mtime=@1", "--format=pax", "--pax-option=delete=atime,delete=ctime", "-cf", filepath.Join(dir, name), ".")
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		names, ids = append(names, `"`+name+`"`), append(ids, fmt.Sprintf(`"sha256:%x"`, sha256.Sum256(b)))
	}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","config":{"Env":["%s"]},"rootfs":{"type":"layers","diff_ids":[%s]}}`,
		env, strings.Join(ids, ","))
	name := fmt.Sprintf("%x.json", sha256.Sum256([]byte(config)))
	manifest := fmt.Sprintf(`[{"Config":"%s","RepoTags":["example.org/web:1"],"Layers":[%s]}]`, name, strings.Join(names, ","))
	for file, data := range map[string]string{name: config, "manifest.json": manifest} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	run(t, "", "tar", "-C", dir, "--sort=name", "--mtime=@1", "-cf", path, ".")
	return path
}

// TestContainers: a docker archive's configuration and layers, and what skopeo
// makes of it in OCI's form.
func TestContainers(t *testing.T) {
	need(t, "skopeo")
	base := map[string]string{"etc/os-release": "NAME=one\n"}
	a := dockerArchive(t, "X=1", base, map[string]string{"app": "first\n"})
	b := dockerArchive(t, "X=2", base, map[string]string{"app": "other\n"})
	lines := []string{"/app: content differs at byte 0 (5 bytes)", `configuration .config.Env[0]: value "X=1" ≠ "X=2"`, "configuration .rootfs.diff_ids[1]: value "}
	expect(t, a, a, compare.Options{})
	expect(t, a, b, compare.Options{}, lines...)
	if got := text(t, compared(t, a, b, compare.Options{})); !strings.Contains(got, "\nlayer 2 of 2:\n") || strings.Contains(got, "layer 1") {
		t.Error(got)
	}
	var oci []string
	for i, path := range []string{a, b} {
		to := filepath.Join(t.TempDir(), fmt.Sprint(i))
		run(t, "", "skopeo", "--insecure-policy", "copy", "-q", "docker-archive:"+path, "oci-archive:"+to)
		oci = append(oci, to)
	}
	got := text(t, compared(t, oci[0], oci[1], compare.Options{}))
	for _, line := range lines {
		if !strings.Contains(got, "  "+line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	r := compared(t, a, oci[0], compare.Options{IgnoreTimes: true})
	if got := text(t, r); strings.Contains(got, "layer ") {
		t.Error(got)
	}
}
