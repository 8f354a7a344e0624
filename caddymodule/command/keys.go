package command

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/token"
)

// key is an API key that an argument names.
type key struct {
	client.Token // only ID is set if err isn't nil
	// err is why the server didn't return the key.
	err error
}

// keys finds the API keys that the arguments name, without duplicates. The arguments must have
// passed checkNames.
func (i *invocation) keys() (api *endpointClient, keys []key, err error) {
	if api, err = i.client(); err != nil {
		return nil, nil, err
	}
	for _, arg := range i.args {
		found, err := i.find(api, arg)
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(keys, func(k key) bool { return k.ID == found.ID }) {
			keys = append(keys, found)
		}
	}
	return api, keys, nil
}

// checkNames returns an error if an argument can't name a key.
func (i *invocation) checkNames(args ...string) error {
	if len(args) == 0 {
		return usageErrorf("missing key: pass an ID, a hint or a name; `%s` shows them", i.call("list"))
	}
	for _, arg := range args {
		if arg == "" {
			return usageErrorf("a key's ID, hint or name is empty")
		}
		if secret := secretPart.FindString(arg); secret != "" {
			return secretArgument(secret)
		}
		if imported.MatchString(arg) {
			return usageErrorf("a UUID may be the secret of an imported key, and arguments appear in process lists "+
				"and shell histories; pass the key's ID instead, which has 12 characters; `%s` finds it",
				i.call("lookup"))
		}
	}
	return nil
}

// checkOneKey returns an error unless there is exactly one argument, which can name a key.
func (i *invocation) checkOneKey(verb string) error {
	if len(i.args) > 1 {
		return usageErrorf("%s takes one key; put a name that contains spaces in quotes", verb)
	}
	return i.checkNames(i.args...)
}

// oneKey finds the API key that the only argument names. It returns the server's error if the
// key can't be read.
func (i *invocation) oneKey(api *endpointClient) (client.Token, error) {
	found, err := i.find(api, i.args[0])
	if err == nil {
		err = found.err
	}
	return found.Token, err
}

var (
	// hint matches the public part of a key as `show` prints it, with or without its end.
	hint = regexp.MustCompile(`^[a-z]{2}[ka]_([0-9A-Za-z]{12})(?:_(?:…|\.\.\.)?)?$`)
	// keyLike matches text that begins like a key.
	keyLike = regexp.MustCompile(`^[a-z]{2}[ka]_`)
	// secretPart matches text that contains at least the beginning of a secret.
	secretPart = regexp.MustCompile(`[a-z]{2}[ka]_[0-9A-Za-z]{12}_[0-9A-Za-z]`)
	// imported matches the secrets of keys imported from Mollymawk, which are UUIDs.
	imported = regexp.MustCompile(`^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// find finds an API key by its ID, its hint or its exact name. An ID takes precedence over a
// name that looks like one.
func (i *invocation) find(api *endpointClient, arg string) (key, error) {
	id := arg
	if match := hint.FindStringSubmatch(arg); match != nil {
		id = match[1]
	}
	if _, err := token.ParseID(id); err != nil {
		return i.findName(api, arg)
	}
	found, err := api.Get(i.ctx, id)
	if err == nil {
		return key{Token: found}, nil
	}
	k := key{Token: client.Token{ID: id}, err: api.explain(err)}
	refused, _ := errors.AsType[*client.Error](err)
	switch {
	case refused == nil:
		return k, k.err
	case refused.Code == "not_found" && id == arg:
		if named, err := i.findName(api, arg); exitCode(err) != exitNotFound {
			return named, err
		}
	}
	return k, nil
}

// notFoundError is the error for a name that no key has.
type notFoundError string

func (e notFoundError) Error() string { return string(e) }

func (i *invocation) findName(api *endpointClient, name string) (key, error) {
	var named []client.Token
	other := "" // a name that differs only in letter case
	for page, err := range api.Pages(i.ctx, client.ListQuery{Limit: client.MaxPage, Q: name}) {
		if err != nil {
			return key{}, api.explain(err)
		}
		for _, t := range page.Tokens {
			switch {
			case t.Name == name:
				named = append(named, t)
			case strings.EqualFold(t.Name, name):
				other = t.Name
			}
		}
	}
	switch {
	case len(named) == 0 && other != "":
		return key{}, notFoundError(fmt.Sprintf("no API key is named %q, but one is named %q; names are case-sensitive",
			name, other))
	case len(named) == 0:
		return key{}, notFoundError(fmt.Sprintf("no API key has the ID (12 letters and digits), the hint or the exact "+
			"name %q; `%s` finds keys by part of their name", name, i.call("list --q "+quoted(name))))
	case len(named) == 1:
		return key{Token: named[0]}, nil
	}
	return key{}, i.severalError(name, named)
}

// severalError lists the keys with the same name and the commands that select each.
func (i *invocation) severalError(name string, named []client.Token) error {
	lines := []string{fmt.Sprintf("%d API keys are named %q; pass the ID of one of them:", len(named), name)}
	for _, t := range named {
		used := "never used"
		if !t.LastUsedAt.IsZero() {
			used = "last used " + ago(t.LastUsedAt, i.now())
		}
		lines = append(lines, fmt.Sprintf("  %s   # %s, created %s, %s", i.again(name, t.ID), t.Status,
			ago(t.CreatedAt, i.now()), used))
	}
	return usageError(strings.Join(lines, "\n"))
}

// again returns this command line with a key's ID in place of its name.
func (i *invocation) again(name, id string) string {
	args := i.args
	if i.flags.Lookup("token-id") == nil {
		args = slices.Clone(args)
		for n, arg := range args {
			if arg == name {
				args[n] = id
			}
		}
	}
	words := []string{i.command, quotedWords(args)}
	i.flags.Visit(func(f *pflag.Flag) {
		for _, value := range i.values(f.Name) {
			switch {
			case f.Name == "token-id":
				value = id
			case f.NoOptDefVal != "" && value == f.NoOptDefVal:
				words = append(words, "--"+f.Name)
				continue
			case f.NoOptDefVal != "":
				words = append(words, "--"+f.Name+"="+value)
				continue
			}
			words = append(words, "--"+f.Name, quoted(value))
		}
	})
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), " ")
}

// keyFlag returns the ID of the API key that a flag names, or "" if the flag isn't set.
func (i *invocation) keyFlag(api *endpointClient, name string) (string, error) {
	arg := i.flags.String(name)
	if arg == "" {
		return "", nil
	}
	err := i.checkNames(arg)
	var found key
	if err == nil {
		found, err = i.find(api, arg)
	}
	if err != nil {
		return "", fmt.Errorf("--%s: %w", name, err)
	}
	return found.ID, nil
}

// String returns the key's name and ID, or only its ID if the server didn't return the key.
func (k key) String() string {
	if k.err != nil {
		return k.ID
	}
	return k.Token.String()
}
