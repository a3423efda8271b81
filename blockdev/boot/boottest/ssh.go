package boottest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Result is a command that ended in the guest.
type Result struct {
	Stdout, Stderr string
	Exit           int
}

// Shell runs commands over one ssh connection.
type Shell struct{ client *ssh.Client }

// NewKey makes a key pair: what logs in, and the line for authorized_keys.
func NewKey() (ssh.Signer, string, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("making a key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, "", fmt.Errorf("making a key: %w", err)
	}
	return signer, string(ssh.MarshalAuthorizedKey(signer.PublicKey())), nil
}

// SSH logs in by key; it tries again until the guest's server is up or limit has
// passed. The guest's host key is new at each first boot and is not checked.
func (vm *VM) SSH(ctx context.Context, user string, key ssh.Signer, limit time.Duration) (*Shell, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	config := &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
	for {
		client, err := vm.dial(ctx, config)
		if err == nil {
			return &Shell{client: client}, nil
		}
		select {
		case <-vm.exited:
			return nil, fmt.Errorf("logging in as %q by ssh: %w", user, vm.gone())
		case <-ctx.Done():
			return nil, fmt.Errorf("logging in as %q by ssh within %s: %w; the console's last lines:\n%s", user, limit, err, vm.console.tail())
		case <-time.After(time.Second):
		}
	}
}

// dial tries once. QEMU accepts the connection before the guest listens, so the
// handshake has a limit of its own, long enough for an emulated guest's sums.
func (vm *VM) dial(ctx context.Context, config *ssh.ClientConfig) (*ssh.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", vm.SSHAddress())
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(45 * time.Second)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c, channels, requests, err := ssh.NewClientConn(conn, vm.SSHAddress(), config)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return ssh.NewClient(c, channels, requests), conn.SetDeadline(time.Time{})
}

// Run runs a command line by the user's shell. A non-zero exit code is no error.
func (s *Shell) Run(ctx context.Context, command string, limit time.Duration) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	session, err := s.client.NewSession()
	if err != nil {
		return Result{}, fmt.Errorf("running %q by ssh: %w", command, err)
	}
	defer session.Close()
	var stdout, stderr bytes.Buffer
	session.Stdout, session.Stderr = &stdout, &stderr
	done := make(chan error, 1)
	go func() { done <- session.Run(command) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		// Only a closed connection surely ends the goroutine above.
		err = errors.Join(ctx.Err(), s.client.Close())
		<-done
	}
	result := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	if exit := (*ssh.ExitError)(nil); errors.As(err, &exit) {
		result.Exit, err = exit.ExitStatus(), nil
	}
	if err != nil {
		return result, fmt.Errorf("running %q by ssh: %w", command, err)
	}
	return result, nil
}

// Output is Run's standard output without white space around it; a non-zero exit code is an error here.
func (s *Shell) Output(ctx context.Context, command string, limit time.Duration) (string, error) {
	result, err := s.Run(ctx, command, limit)
	if err == nil && result.Exit != 0 {
		err = fmt.Errorf("running %q by ssh: exit code %d: %s", command, result.Exit,
			strings.TrimSpace(result.Stderr+result.Stdout))
	}
	return strings.TrimSpace(result.Stdout), err
}

// Close ends the connection.
func (s *Shell) Close() error { return s.client.Close() }
