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

// maxPlaceholderFile is how much of a file is read for a placeholder, in bytes, as Caddy does.
const maxPlaceholderFile = 1 << 20

// bearerSyntax is b64token of RFC 6750 section 2.1.
var bearerSyntax = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// resolveSecret replaces the placeholders in a configured bearer token. An error tells
// what kind of mistake it is and what to do, and holds nothing of text, nor of what the
// placeholders stand for. Caddy's own replacer names placeholders in its errors, and
// the names of files in its log.
func resolveSecret(text string) (string, error) {
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
		return "", errors.New("its placeholders can't be replaced; write {env.NAME} or {file./path}")
	case !bearerSyntax.MatchString(secret):
		return "", errors.New(bearerMistake(secret) + "; a bearer token is one word of letters, digits and -._~+/=")
	}
	return secret, nil
}

// placeholderValue returns what the placeholder {key} stands for, which is never "".
func placeholderValue(key string) (string, error) {
	if name, ok := strings.CutPrefix(key, "env."); ok {
		value, set := os.LookupEnv(name)
		switch {
		case !set:
			return "",
				errors.New(
					"the environment variable of its placeholder {env.…} is not set; set it for the Caddy process, or correct its name")
		case value == "":
			return "", errors.New("the environment variable of its placeholder {env.…} is empty")
		}
		return value, nil
	}
	if path, ok := strings.CutPrefix(key, "file."); ok {
		return fileValue(path)
	}
	if value, ok := caddy.NewReplacer().GetString(key); ok && value != "" {
		return value, nil
	}
	return "",
		errors.New(
			"its placeholder names neither an environment variable nor a file; write {env.NAME} or {file./path}, or a token without braces")
}

// fileValue returns the text of a file without a line break at its end.
func fileValue(path string) (string, error) {
	text, err := readSecretFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("the file of its placeholder {file.…} does not exist; create it, or correct the path")
	case errors.Is(err, fs.ErrPermission):
		return "",
			errors.New(
				"the file of its placeholder {file.…} can't be read: permission denied; let the user that Caddy runs as read it, and look into the directories above it")
	case err != nil:
		reason := err
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			reason = pathErr.Err // without the path
		}
		return "", fmt.Errorf("the file of its placeholder {file.…} can't be read: %w", reason)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return "", errors.New("the file of its placeholder {file.…} is empty; write the token into it")
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

// bearerMistake says what is wrong with a token that can't be sent as one.
func bearerMistake(secret string) string {
	scheme, _, _ := strings.Cut(secret, " ")
	switch {
	case strings.HasPrefix(secret, "\ufeff"), strings.HasPrefix(secret, "\xff\xfe"),
		strings.HasPrefix(secret, "\xfe\xff"):
		return "it begins with a byte order mark; save the file as plain ASCII or UTF-8 without one"
	case strings.Trim(secret, "\r\n") == "":
		return "it is empty"
	case strings.EqualFold(scheme, "Bearer"):
		return "it begins with the word Bearer; leave that out"
	case strings.ContainsAny(strings.TrimRight(secret, "\r\n"), "\r\n"):
		return "it has several lines; write nothing but the token"
	case strings.ContainsAny(secret, "\r\n"):
		return "it ends with an empty line; write nothing but the token and one line break"
	case strings.TrimSpace(secret) != secret:
		return "it has white space around it; write nothing but the token"
	case len(strings.Fields(secret)) > 1:
		return "it has several words; write nothing but the token"
	case strings.ContainsAny(secret, "{}"):
		return "it has braces that make no placeholder"
	case strings.ContainsAny(secret, "\"'`"):
		return "it has quotes; leave them out"
	}
	return "it has a character that can't be sent in one"
}
