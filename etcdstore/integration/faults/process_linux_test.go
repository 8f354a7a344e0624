package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a program that runs in a namespace and can be started several times. The kernel
// kills it when the test's process ends, even if the test's process is killed.
type process struct {
	name      string
	namespace *namespace
	dir       string // working directory, and the directory of the log
	env       []string
	command   []string

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	stopped bool // by SIGSTOP
	// expected is set if the test ends the process itself.
	expected bool
	// crashes lists the times at which the process has ended on its own.
	crashes []string
}

func (p *process) logFile() string { return filepath.Join(p.dir, "log") }

// start starts the process. Its output is appended to the log.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s is already running", p.name)
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, log, log
	// The signal is sent when the thread that starts the process ends. The namespace's thread
	// lives until the namespace is closed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.namespace.do(cmd.Start); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited, p.expected, p.stopped = cmd, exited, false, false
	go func() {
		_ = cmd.Wait()
		p.mu.Lock()
		if !p.expected {
			p.crashes = append(p.crashes, fmt.Sprintf("%s: %s ended: %s", time.Now().Format(time.TimeOnly), p.name,
				cmd.ProcessState))
		}
		p.mu.Unlock()
		close(exited)
	}()
	return nil
}

// signal sends a signal to the process, if it is running.
func (p *process) signal(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// pause stops the process with SIGSTOP, and resume continues it.
func (p *process) pause() error  { return p.signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

// kill kills the process and waits until it has ended.
func (p *process) kill() { _ = p.end(syscall.SIGKILL, 0) }

// stop asks the process to exit, and kills it if it doesn't. It returns an error unless the
// process has exited cleanly.
func (p *process) stop(patience time.Duration) error { return p.end(syscall.SIGTERM, patience) }

func (p *process) end(signal syscall.Signal, patience time.Duration) (err error) {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	if cmd == nil {
		p.mu.Unlock()
		return nil
	}
	p.expected = true
	p.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(signal)
	if signal != syscall.SIGKILL {
		select {
		case <-exited:
			if code := cmd.ProcessState.ExitCode(); code != 0 {
				err = fmt.Errorf("%s exited with %s", p.name, cmd.ProcessState)
			}
		case <-time.After(patience):
			err = fmt.Errorf("%s didn't exit within %s", p.name, patience)
			_ = cmd.Process.Kill()
		}
	}
	<-exited
	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	return err
}

// running reports whether the process runs.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// crashed returns what is known of times when the process ended on its own.
func (p *process) crashed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crashes
}

// logTail returns the last lines of the log.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
