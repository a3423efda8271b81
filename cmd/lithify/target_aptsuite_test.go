package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// releaseFile is a Release file with the given date and lists, as an archive has it.
func releaseFile(date string, lists map[string]string) string {
	text := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: stable\nDate: " + date + "\nMD5Sum:\n"
	var sums string
	for path, content := range lists {
		text += fmt.Sprintf(" d41d8cd98f00b204e9800998ecf8427e %d %s\n", len(content), path)
		sums += fmt.Sprintf(" %x %8d %s\n", sha256.Sum256([]byte(content)), len(content), path)
	}
	return text + "SHA256:\n" + sums + "-----BEGIN PGP SIGNATURE-----\n"
}

func TestAptSuiteDigest(t *testing.T) {
	lists := map[string]string{
		"main/binary-amd64/Packages": "one", "main/binary-amd64/Packages.xz": "xz", "main/binary-all/Packages": "all",
		"main/binary-arm64/Packages": "two", "contrib/binary-amd64/Packages.gz": "three", "main/i18n/Translation-en": "x",
		"main/debian-installer/binary-amd64/Packages": "udebs",
	}
	date := "Sat, 01 Nov 2026 10:00:00 UTC"
	mux := http.NewServeMux()
	mux.HandleFunc("/debian/dists/stable/InRelease", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, releaseFile(date, lists)) })
	mux.HandleFunc("/old/dists/stable/Release", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, releaseFile(date, lists)) })
	mux.HandleFunc("/flat/repo/InRelease", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, releaseFile(date, map[string]string{"./Packages": "flat"}))
	})
	mux.HandleFunc("/sick/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	server := httptest.NewServer(mux)
	defer server.Close()
	disk := put(t, map[string]string{"dists/stable/InRelease": releaseFile(date, lists)})
	sum := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	main := "stable main all " + sum("all") + "\nstable main amd64 " + sum("one") + "\n"

	ask := func(words string) (int, string, string) {
		return call(t, nil, "apt-suite-digest", strings.Fields(strings.ReplaceAll(words, "URL", server.URL))...)
	}
	for _, c := range []struct {
		words, stdout, complaint string
		code                     int
	}{
		{"URL/debian stable main amd64", main, "", 0},
		{"URL/debian/ stable main,contrib amd64", "stable contrib amd64 " + sum("three") + "\n" + main, "", 0},
		{"URL/old stable main amd64", main, "", 0},
		{"file://" + disk + " stable main amd64", main, "", 0},
		{"URL/flat repo/ amd64", "repo/ - amd64 " + sum("flat") + "\n", "", 0},
		{"URL/debian stable mian amd64", "", "there are contrib, main", 1},
		{"URL/debian stable main riscv64", "", "there are amd64, arm64", 1},
		{"URL/debian stabel main amd64", "", "no such suite", 1},
		{"URL/sick stable main amd64", "", "502", 1},
		{"file:///nowhere stable main amd64", "", "no such suite", 1},
		{"ftp://host/debian stable main amd64", "", "allowed are http, https and file", 1},
		{"URL/debian stable", "", "wanted: MIRROR", exitUsage},
	} {
		code, stdout, stderr := ask(c.words)
		if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.complaint) {
			t.Errorf("apt-suite-digest %s: code %d, %q, %q", c.words, code, stdout, stderr)
		}
	}

	date = "Sun, 02 Nov 2026 10:00:00 UTC"
	lists["main/binary-arm64/Packages"] = "another architecture"
	if _, stdout, _ := ask("URL/debian stable main amd64"); stdout != main {
		t.Errorf("a new date changed the answer: %q", stdout)
	}
	lists["main/binary-amd64/Packages"] = "changed"
	if _, stdout, _ := ask("URL/debian stable main amd64"); stdout == main {
		t.Error("a changed list left the answer alone")
	}
}

func FuzzReleaseSums(f *testing.F) {
	f.Add([]byte(releaseFile("today", map[string]string{"main/binary-amd64/Packages": "one"})))
	f.Add([]byte("SHA256:\n a b c\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for path, sum := range releaseSums(text) {
			if len(sum) != 64 || strings.ContainsAny(path, " \n") {
				t.Errorf("%q: %q", path, sum)
			}
		}
	})
}

func FuzzParseLegacy(f *testing.F) {
	f.Add([]byte("a\n-b\n#c\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, removal bool) {
		for _, r := range parseLegacy(text, "e", removal) {
			if r.name == "" || strings.TrimSpace(r.name) != r.name || strings.Contains(r.name, "\n") {
				t.Errorf("%q", r.name)
			}
		}
	})
}
