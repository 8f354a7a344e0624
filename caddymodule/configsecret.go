package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// maxPlaceholderFile is the maximum number of bytes to read from a placeholder's file. Caddy
// uses the same limit.
const maxPlaceholderFile = 1 << 20

// bearerSyntax matches the b64token of RFC 6750, section 2.1.
var bearerSyntax = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// resolveSecret replaces the placeholders in a configured bearer token. Like [ResolveSecret], its
// errors contain nothing that may be secret.
func resolveSecret(text string) (string, error) {
	secret, err := ResolveSecret(text)
	if err == nil && !bearerSyntax.MatchString(secret) {
		err = errors.New(bearerMistake(secret) + "; a bearer token is one word of letters, digits and -._~+/=")
	}
	if err != nil {
		return "", err
	}
	return secret, nil
}

// ResolveSecret replaces the placeholders in a configured secret, such as {env.NAME} and
// {file./path}. Its errors describe the kind of problem and the fix, but never contain any part
// of text or of a placeholder's value. Caddy's own replacer isn't used because it includes
// placeholder names in its errors and logs file names.
func ResolveSecret(text string) (string, error) {
	var cause error
	replacer := caddy.NewEmptyReplacer()
	replacer.Map(func(key string) (any, bool) {
		value, err := placeholderValue(key)
		if cause == nil {
			cause = err
		}
		return value, true
	})
	secret, err := replacer.ReplaceOrErr(text, true, true)
	switch {
	case cause != nil:
		return "", cause
	case err != nil:
		return "", errors.New("its placeholders can't be resolved; write {env.NAME} or {file./path}")
	}
	return secret, nil
}

// placeholderValue returns the value of the placeholder {key}. It treats an empty value as an
// error.
func placeholderValue(key string) (string, error) {
	if name, ok := strings.CutPrefix(key, "env."); ok {
		value, set := os.LookupEnv(name)
		switch {
		case !set:
			return "", errors.New("the environment variable in its placeholder {env.…} is not set; " +
				"set it for the Caddy process, or correct its name")
		case value == "":
			return "", errors.New("the environment variable in its placeholder {env.…} is empty")
		}
		return value, nil
	}
	if path, ok := strings.CutPrefix(key, "file."); ok {
		return fileValue(path)
	}
	if value, ok := caddy.NewReplacer().GetString(key); ok && value != "" {
		return value, nil
	}
	return "", errors.New("its placeholder names neither an environment variable nor a file; " +
		"write {env.NAME} or {file./path}, or a value without braces")
}

// fileValue returns a file's content without the final line break.
func fileValue(path string) (string, error) {
	text, err := readSecretFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("the file in its placeholder {file.…} does not exist; create it, or correct the path")
	case errors.Is(err, fs.ErrPermission):
		return "", errors.New("the file in its placeholder {file.…} can't be read: permission denied; " +
			"give the user that Caddy runs as access to it and its parent directories")
	case err != nil:
		reason := err
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			reason = pathErr.Err // without the path
		}
		return "", fmt.Errorf("the file in its placeholder {file.…} can't be read: %w", reason)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return "", errors.New("the file in its placeholder {file.…} is empty; write the value to it")
	}
	return text, nil
}

func readSecretFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxPlaceholderFile))
	return string(text), err
}

// bearerMistake describes why secret can't be sent as a bearer token.
func bearerMistake(secret string) string {
	scheme, _, _ := strings.Cut(secret, " ")
	switch {
	case strings.HasPrefix(secret, "\ufeff"), strings.HasPrefix(secret, "\xff\xfe"),
		strings.HasPrefix(secret, "\xfe\xff"):
		return "it begins with a byte order mark; save the file as ASCII, or as UTF-8 without one"
	case strings.Trim(secret, "\r\n") == "":
		return "it is empty"
	case strings.EqualFold(scheme, "Bearer"):
		return "it begins with the word Bearer; remove that word"
	case strings.ContainsAny(strings.TrimRight(secret, "\r\n"), "\r\n"):
		return "it has several lines; write only the token"
	case strings.ContainsAny(secret, "\r\n"):
		return "it ends with an empty line; write only the token and one line break"
	case strings.TrimSpace(secret) != secret:
		return "it has leading or trailing white space; write only the token"
	case len(strings.Fields(secret)) > 1:
		return "it has several words; write only the token"
	case strings.ContainsAny(secret, "{}"):
		return "it has braces that don't form a placeholder"
	case strings.ContainsAny(secret, "\"'`"):
		return "it has quotes; remove them"
	}
	return "it has a character that bearer tokens can't contain"
}
