package elements

// DistroFamily is the family of a distribution, "" when it has none. It is the
// one table for pkg-map and svc-map; the names are values of DISTRO_NAME.
func DistroFamily(distro string) string {
	switch distro {
	case "almalinux", "centos", "fedora", "openeuler", "rhel", "rocky":
		return "redhat"
	case "debian", "ubuntu":
		return "debian"
	case "opensuse":
		return "suse"
	case "gentoo":
		return "gentoo"
	}
	return ""
}
