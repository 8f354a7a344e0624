package token

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDraft(t *testing.T) {
	t.Parallel()
	made := testTime.Truncate(time.Second)
	draft := Draft{
		Kind: KindAPI, Name: "GitHub CI", Account: "alice",
		Scopes:     Grants{"unikernel:list", "block:*", "unikernel:list"},
		AllowedIPs: []string{"203.0.113.0/24", "203.0.113.0/24", "2001:db8::1"},
		RateLimit:  &RateLimit{60, time.Minute}, Quota: &Quota{10000, PeriodMonth},
		Metadata:  map[string]string{"env": "prod", "note": "two\nlines"},
		NotBefore: made.Add(time.Hour + time.Millisecond), Expiry: Expiry{ExpiresIn: Lifetime{months: 1}},
	}
	got, err := testPolicy.New(draft, testTime)
	if err != nil {
		t.Fatal(err)
	}
	want := Token{
		Terms: Terms{Kind: KindAPI, Account: "alice", Scopes: Grants{"block:*", "unikernel:list"},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"),
				netip.MustParsePrefix("2001:db8::1/128")}, RateLimit: RateLimit{60, time.Minute},
			Quota: Quota{10000, PeriodMonth}}, Format: FormatNative, Prefix: "mm", Name: "GitHub CI",

		Metadata:  map[string]string{"env": "prod", "note": "two\nlines"},
		CreatedAt: testTime, UpdatedAt: made, SecretMadeAt: made,
		NotBefore: made.Add(time.Hour), ExpiresAt: made.AddDate(0, 1, 0), Version: 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// The token shares no memory with the draft.
	draft.Scopes[0], draft.Metadata["env"] = "*", "changed"
	if got.Metadata["env"] != "prod" || got.Scopes[0] != "block:*" {
		t.Error("changing the draft changed the token")
	}
}

func TestDraftRules(t *testing.T) {
	t.Parallel()
	unlimited := func(p *Policy) { p.MaxLifetime = Lifetime{} }
	narrow := func(p *Policy) { p.MaxScopes = map[string]Grants{"alice": {"block:*", "unikernel:list"}} }
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("10.0.%d.%d", i/256, i%256))
		}
		return list
	}
	manyEntries := make(map[string]string)
	for i := range 65 {
		manyEntries[fmt.Sprint("key", i)] = ""
	}
	at := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for name, c := range map[string]struct {
		edit   func(*Draft)
		policy func(*Policy)
		// field is the invalid field; empty if the draft is valid.
		field, rule string
	}{
		"unchanged": {edit: func(*Draft) {}},

		"no kind":      {edit: func(d *Draft) { d.Kind = 0 }, field: "kind"},
		"unknown kind": {edit: func(d *Draft) { d.Kind = 3 }, field: "kind"},

		"no name":                  {edit: func(d *Draft) { d.Name = "" }, field: "name"},
		"longest name":             {edit: func(d *Draft) { d.Name = strings.Repeat("é", 100) }},
		"name too long":            {edit: func(d *Draft) { d.Name = strings.Repeat("é", 101) }, field: "name"},
		"name with only spaces":    {edit: func(d *Draft) { d.Name = "  " }, field: "name"},
		"space after":              {edit: func(d *Draft) { d.Name = "CI " }, field: "name"},
		"invalid UTF-8":            {edit: func(d *Draft) { d.Name = "CI\xff" }, field: "name"},
		"surrogate":                {edit: func(d *Draft) { d.Name = "\xed\xa0\x80" }, field: "name"},
		"line feed":                {edit: func(d *Draft) { d.Name = "a\nb" }, field: "name", rule: "U+000A"},
		"NUL":                      {edit: func(d *Draft) { d.Name = "a\x00b" }, field: "name", rule: "U+0000"},
		"DEL":                      {edit: func(d *Draft) { d.Name = "a\x7fb" }, field: "name", rule: "U+007F"},
		"escape":                   {edit: func(d *Draft) { d.Name = "a\x1b[31mb" }, field: "name", rule: "U+001B"},
		"C1 control":               {edit: func(d *Draft) { d.Name = "a\u009bb" }, field: "name", rule: "U+009B"},
		"line separator":           {edit: func(d *Draft) { d.Name = "a\u2028b" }, field: "name"},
		"right-to-left override":   {edit: func(d *Draft) { d.Name = "a\u202eb" }, field: "name", rule: "U+202E"},
		"isolate":                  {edit: func(d *Draft) { d.Name = "a\u2066b" }, field: "name"},
		"Arabic letter mark":       {edit: func(d *Draft) { d.Name = "a\u061cb" }, field: "name"},
		"left-to-right mark":       {edit: func(d *Draft) { d.Name = "a\u200eb" }, field: "name"},
		"zero width space":         {edit: func(d *Draft) { d.Name = "a\u200bb" }, field: "name"},
		"word joiner":              {edit: func(d *Draft) { d.Name = "a\u2060b" }, field: "name"},
		"byte order mark":          {edit: func(d *Draft) { d.Name = "\ufeffa" }, field: "name"},
		"soft hyphen":              {edit: func(d *Draft) { d.Name = "a\u00adb" }, field: "name"},
		"tag":                      {edit: func(d *Draft) { d.Name = "a\U000e0041b" }, field: "name"},
		"Hebrew, emoji and joiner": {edit: func(d *Draft) { d.Name = "שלום 👩\u200d💻 می\u200cخواهم" }},

		"default account": {edit: func(d *Draft) { d.Account = "" }},
		"unknown account": {edit: func(d *Draft) { d.Account = "bob" }, field: "account",
			rule: "alice, default"},
		"account in a different case": {edit: func(d *Draft) { d.Account = "Alice" }, field: "account"},
		"no accounts": {edit: func(*Draft) {}, policy: func(p *Policy) { p.Accounts = nil },
			field: "account", rule: "account block"},
		"scopes within the account's maximum": {edit: func(d *Draft) {
			d.Account, d.Scopes = "alice",
				Grants{"unikernel:list", "block:*"}
		}, policy: narrow},
		"more than the account's maximum": {edit: func(d *Draft) {
			d.Account, d.Scopes = "alice",
				Grants{"unikernel:list", "unikernel:create"}
		}, policy: narrow, field: "scopes",
			rule: `"unikernel:create" exceeds the maximum of account alice, which is block:*, unikernel:list`},
		"all actions of the account": {edit: func(d *Draft) { d.Account, d.Scopes = "alice", Grants{"unikernel:*"} },
			policy: narrow, field: "scopes"},
		"everything of the account": {edit: func(d *Draft) { d.Account, d.Scopes = "alice", Grants{"*"} },
			policy: narrow, field: "scopes"},
		"preset of the account": {edit: func(d *Draft) { d.Account, d.Scopes, d.Preset = "alice", nil, "read" },
			policy: narrow},
		"preset beyond the account": {edit: func(d *Draft) { d.Account, d.Scopes, d.Preset = "alice", nil, "full" },
			policy: narrow, field: "preset", rule: "account alice"},
		"another account": {edit: func(d *Draft) { d.Scopes = Grants{"*"} }, policy: narrow},
		"account with *": {edit: func(d *Draft) { d.Scopes = Grants{"unikernel:*", "*"} },
			policy: func(p *Policy) { p.MaxScopes = map[string]Grants{"default": {"*"}} }},
		"explicit scope, account with *": {edit: func(d *Draft) { d.Scopes = Grants{"monitoring:*"} },
			policy: func(p *Policy) { p.MaxScopes = map[string]Grants{"default": {"*"}} }, field: "scopes"},
		"account without scopes": {edit: func(*Draft) {},
			policy: func(p *Policy) { p.MaxScopes = map[string]Grants{"default": nil} }, field: "scopes"},

		"rate limit":   {edit: func(d *Draft) { d.RateLimit = &RateLimit{60, time.Minute} }},
		"highest rate": {edit: func(d *Draft) { d.RateLimit = &RateLimit{1e9, 24 * time.Hour} }},
		"rate too high": {edit: func(d *Draft) { d.RateLimit = &RateLimit{1e9 + 1, time.Minute} },
			field: "rate_limit", rule: "1000000000"},
		"rate of 0": {edit: func(d *Draft) { d.RateLimit = &RateLimit{0, time.Minute} },
			field: "rate_limit", rule: "requests"},
		"negative rate": {edit: func(d *Draft) { d.RateLimit = &RateLimit{-1, time.Minute} },
			field: "rate_limit", rule: "requests"},
		"no window": {edit: func(d *Draft) { d.RateLimit = &RateLimit{Requests: 1} }, field: "rate_limit",
			rule: "window"},
		"window too long": {edit: func(d *Draft) { d.RateLimit = &RateLimit{1, 24*time.Hour + time.Second} },
			field: "rate_limit", rule: "window"},
		"part of a second": {edit: func(d *Draft) { d.RateLimit = &RateLimit{1, 1500 * time.Millisecond} },
			field: "rate_limit", rule: "window"},
		"rate limit of an admin": {edit: func(d *Draft) {
			d.Kind, d.Scopes, d.RateLimit = KindAdmin, nil,
				&RateLimit{1, time.Minute}
		}, field: "rate_limit"},
		"quota":       {edit: func(d *Draft) { d.Quota = &Quota{1, PeriodMonth} }},
		"daily quota": {edit: func(d *Draft) { d.Quota = &Quota{999_999_999_999_999, PeriodDay} }},
		"quota too high": {edit: func(d *Draft) { d.Quota = &Quota{1_000_000_000_000_000, PeriodDay} },
			field: "quota", rule: "999999999999999"},
		"quota of 0": {edit: func(d *Draft) { d.Quota = &Quota{Period: PeriodMonth} }, field: "quota",
			rule: "requests"},
		"no period": {edit: func(d *Draft) { d.Quota = &Quota{Requests: 1} }, field: "quota",
			rule: "period"},
		"unknown period": {edit: func(d *Draft) { d.Quota = &Quota{1, 3} }, field: "quota", rule: "period"},
		"quota of an admin token": {edit: func(d *Draft) {
			d.Kind, d.Scopes, d.Quota = KindAdmin, nil,
				&Quota{1, PeriodMonth}
		}, field: "quota"},

		"no account for admin": {edit: func(d *Draft) { d.Kind, d.Scopes, d.Account = KindAdmin, nil, "alice" },
			field: "account"},

		"admin":             {edit: func(d *Draft) { d.Kind, d.Scopes = KindAdmin, nil }},
		"admin with scopes": {edit: func(d *Draft) { d.Kind = KindAdmin }, field: "scopes"},
		"admin with preset": {edit: func(d *Draft) { d.Kind, d.Scopes, d.Preset = KindAdmin, nil, "read" },
			field: "preset"},
		"no scope":                {edit: func(d *Draft) { d.Scopes = nil }, field: "scopes", rule: "full, read"},
		"preset":                  {edit: func(d *Draft) { d.Scopes, d.Preset = nil, "read" }},
		"preset and scopes":       {edit: func(d *Draft) { d.Preset = "read" }, field: "preset"},
		"preset and empty scopes": {edit: func(d *Draft) { d.Preset, d.Scopes = "read", Grants{} }, field: "preset"},
		"unknown preset":          {edit: func(d *Draft) { d.Scopes, d.Preset = nil, "write" }, field: "preset"},
		"preset with unknown scope": {edit: func(d *Draft) { d.Scopes, d.Preset = nil, "bad" },
			policy: func(p *Policy) { p.Catalog.Presets = map[string]Grants{"bad": {"x:y"}} }, field: "preset"},
		"everything":                {edit: func(d *Draft) { d.Scopes = Grants{"*"} }},
		"every action":              {edit: func(d *Draft) { d.Scopes = Grants{"unikernel:*", "monitoring:*"} }},
		"unknown scope":             {edit: func(d *Draft) { d.Scopes = Grants{"unikernel:destroy"} }, field: "scopes"},
		"unknown resource":          {edit: func(d *Draft) { d.Scopes = Grants{"console:*"} }, field: "scopes"},
		"every resource":            {edit: func(d *Draft) { d.Scopes = Grants{"*:list"} }, field: "scopes"},
		"part of a resource":        {edit: func(d *Draft) { d.Scopes = Grants{"unik*"} }, field: "scopes"},
		"part of an action":         {edit: func(d *Draft) { d.Scopes = Grants{"unikernel:l*"} }, field: "scopes"},
		"two stars":                 {edit: func(d *Draft) { d.Scopes = Grants{"**"} }, field: "scopes"},
		"empty scope":               {edit: func(d *Draft) { d.Scopes = Grants{""} }, field: "scopes"},
		"only a colon":              {edit: func(d *Draft) { d.Scopes = Grants{":*"} }, field: "scopes"},
		"scope in a different case": {edit: func(d *Draft) { d.Scopes = Grants{"Unikernel:list"} }, field: "scopes"},
		"too many scopes":           {edit: func(d *Draft) { d.Scopes = make(Grants, 257) }, field: "scopes"},
		"maximum number of IPs":     {edit: func(d *Draft) { d.AllowedIPs = many(256) }},
		"too many IPs":              {edit: func(d *Draft) { d.AllowedIPs = many(257) }, field: "allowed_ips"},
		"empty IP":                  {edit: func(d *Draft) { d.AllowedIPs = []string{""} }, field: "allowed_ips"},

		"too many entries": {edit: func(d *Draft) { d.Metadata = manyEntries }, field: "metadata"},
		"empty key":        {edit: func(d *Draft) { d.Metadata = map[string]string{"": "x"} }, field: "metadata"},
		"empty value":      {edit: func(d *Draft) { d.Metadata = map[string]string{"x": ""} }},
		"longest entry": {
			edit: func(d *Draft) {
				d.Metadata = map[string]string{strings.Repeat("ä", 64): strings.Repeat("ä", 1024)}
			}},
		"key too long": {edit: func(d *Draft) { d.Metadata = map[string]string{strings.Repeat("a", 65): ""} },
			field: "metadata"},
		"value too long": {
			edit: func(d *Draft) { d.Metadata = map[string]string{"a": strings.Repeat("a", 1025)} }, field: "metadata"},
		"key with a control character": {edit: func(d *Draft) { d.Metadata = map[string]string{"a\nb": ""} },
			field: "metadata"},
		"key invalid": {edit: func(d *Draft) { d.Metadata = map[string]string{"a\xff": ""} },
			field: "metadata"},
		"value invalid": {edit: func(d *Draft) { d.Metadata = map[string]string{"a": "\xff"} },
			field: "metadata"},
		"value with an escape character": {edit: func(d *Draft) { d.Metadata = map[string]string{"a": "\x1b[2J"} },
			field: "metadata", rule: "U+001B"},
		"value with bidi control": {edit: func(d *Draft) { d.Metadata = map[string]string{"a": "x\u202ey"} },
			field: "metadata"},
		"multi-line value": {edit: func(d *Draft) { d.Metadata = map[string]string{"a": "x\n\ty"} }},
		"keys that differ only in case": {edit: func(d *Draft) { d.Metadata = map[string]string{"Env": "", "env": ""} },
			field: "metadata", rule: `"Env" and "env"`},
		"empty metadata": {edit: func(d *Draft) { d.Metadata = map[string]string{} }},
		"no expiry":      {edit: func(d *Draft) { d.ExpiresIn = Lifetime{} }, field: "expires_in"},
		"two expiries":   {edit: func(d *Draft) { d.ExpiresAt = testTime.Add(time.Hour) }, field: "expires_at"},
		"expiry and never": {edit: func(d *Draft) { d.NeverExpires = true }, policy: unlimited,
			field: "expires_at"},
		"never": {edit: func(d *Draft) { d.ExpiresIn, d.NeverExpires = Lifetime{}, true },
			policy: unlimited},
		"never, with a limit": {edit: func(d *Draft) { d.ExpiresIn, d.NeverExpires = Lifetime{}, true },
			field: "expires_in", rule: "2y"},
		"longest lifetime": {edit: func(d *Draft) { d.ExpiresIn = Lifetime{months: 24} }},
		"lifetime too long": {edit: func(d *Draft) { d.ExpiresIn = Lifetime{months: 25} }, field: "expires_in",
			rule: "2y"},
		"latest expiry": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				at("2029-03-14T15:09:26Z")
		}},
		"latest expiry and a fraction": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				at("2029-03-14T15:09:26.999Z")
		}},
		"later than the latest expiry": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				at("2029-03-14T15:09:27Z")
		}, field: "expires_at"},
		"already expired": {edit: func(d *Draft) { d.ExpiresIn, d.ExpiresAt = Lifetime{}, testTime },
			field: "expires_at"},
		"expires within the current second": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				testTime.Add(400*time.Millisecond)
		}, field: "expires_at"},
		"expires next second": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				testTime.Add(time.Second)
		}},
		"last valid second": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				at("9999-12-31T23:59:59Z")
		}, policy: unlimited},
		"first invalid year": {edit: func(d *Draft) {
			d.ExpiresIn, d.ExpiresAt = Lifetime{},
				at("9999-12-31T23:59:59-01:00")
		}, policy: unlimited, field: "expires_at"},
		"too many years": {edit: func(d *Draft) { d.ExpiresIn = Lifetime{months: 12 * 9000} }, policy: unlimited,
			field: "expires_in"},
		"unreachable max_lifetime": {edit: func(d *Draft) { d.ExpiresIn = Lifetime{months: 12 * 1000} },
			policy: func(p *Policy) { p.MaxLifetime = Lifetime{months: 12 * 9000} }},
		"not_before at expiry": {edit: func(d *Draft) { d.NotBefore = at("2027-04-14T15:09:26Z") },
			field: "not_before"},
		"not_before before expiry": {edit: func(d *Draft) { d.NotBefore = at("2027-04-14T15:09:25Z") }},
		"not_before long ago":      {edit: func(d *Draft) { d.NotBefore = at("1970-01-01T00:00:00Z") }},
		"not_before in the year 0": {edit: func(d *Draft) { d.NotBefore = at("0000-06-01T00:00:00Z") },
			field: "not_before"},
		"not_before before the year 1": {edit: func(d *Draft) { d.NotBefore = at("0001-01-01T00:00:00+01:00") },
			field: "not_before"},
		"not_before after the last year": {edit: func(d *Draft) {
			d.ExpiresIn, d.NeverExpires, d.NotBefore = Lifetime{}, true, at("9999-12-31T23:59:59-01:00")
		}, policy: unlimited, field: "not_before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft, policy := validDraft(), testPolicy
			c.edit(&draft)
			if c.policy != nil {
				c.policy(&policy)
			}
			token, err := policy.New(draft, testTime)
			var fieldErr *FieldError
			switch {
			case c.field == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case c.field != "" && (!errors.As(err, &fieldErr) || fieldErr.Field != c.field ||
				!strings.Contains(fieldErr.Rule, c.rule)):
				t.Errorf("got error %v, want one about %s: %s", err, c.field, c.rule)
			case c.field != "" && !reflect.ValueOf(token).IsZero():
				t.Error("New returned a token in addition to the error")
			case c.field == "":
				// Every valid token can be stored and read back unchanged.
				token.Digest = DigestOf(vector)
				decoded, err := DecodeToken(token.ID, EncodeToken(&token))
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(*decoded, token) {
					t.Errorf("stored as %+v, read as %+v", token, *decoded)
				}
			}
		})
	}
}

// TestFieldErrorsContainNoSecret checks that no error reveals a token that was put into the
// wrong field.
func TestFieldErrorsContainNoSecret(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*Draft){
		"account":      func(d *Draft) { d.Account = vector },
		"preset":       func(d *Draft) { d.Scopes, d.Preset = nil, vector },
		"scope":        func(d *Draft) { d.Scopes = Grants{vector} },
		"ip":           func(d *Draft) { d.AllowedIPs = []string{vector} },
		"key":          func(d *Draft) { d.Metadata = map[string]string{vector: "\x00"} },
		"two keys":     func(d *Draft) { d.Metadata = map[string]string{vector: "", strings.ToUpper(vector): ""} },
		"long account": func(d *Draft) { d.Account = strings.Repeat("x", 180) + vector },
		"long key":     func(d *Draft) { d.Metadata = map[string]string{strings.Repeat("x", 40) + vector: ""} },
	} {
		draft := validDraft()
		edit(&draft)
		_, err := testPolicy.New(draft, testTime)
		if err == nil || strings.Contains(err.Error(), vector[secretStart:secretStart+8]) {
			t.Errorf("%s: got error %v, want one without the secret", name, err)
		}
	}
}

func TestParseAllowedIPs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "203.0.113.0/24": "203.0.113.0/24", "0.0.0.0/0": "0.0.0.0/0", "::/0": "::/0",
		"2001:DB8::": "2001:db8::/128", "2001:db8::/32": "2001:db8::/32", "::ffff:203.0.113.7": "203.0.113.7/32",
		"::ffff:203.0.113.0/120": "203.0.113.0/24", "::ffff:0.0.0.0/96": "0.0.0.0/0",
		"": "", " 10.0.0.1": "", "10.0.0.1 ": "", "10.0.0.1/8": "", "10.0.0.0/33": "", "10.0.0.0/-1": "",
		"10.0.0.0/08": "", "10.0.0.0/": "",
		"10.0.0": "", "10.0.0.256": "", "010.0.0.1": "", "0x0a.0.0.1": "", "167772161": "", "example.com": "",
		"10.0.0.0-10.0.0.9": "",
		"fe80::1%eth0":      "", "fe80::%eth0/64": "", "::ffff:1.2.3.4/64": "", "2001:db8::1/32": "", "[::1]": "",
		"10.0.0.1:80": "", "*": "",
	} {
		prefixes, err := parseAllowedIPs([]string{text})
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was parsed as %v, want an error", text, prefixes)
		case want != "" && (err != nil || len(prefixes) != 1 || prefixes[0].String() != want):
			t.Errorf("%q: got %v, error %v; want %s", text, prefixes, err, want)
		}
	}
	if prefixes, err := parseAllowedIPs([]string{"::ffff:10.0.0.0/104", "10.0.0.0/8"}); err != nil ||
		len(prefixes) != 1 {
		t.Errorf("two spellings of one range: got %v, error %v; want one range", prefixes, err)
	}
}

func TestCatalogPresets(t *testing.T) {
	t.Parallel()
	c := testPolicy.Catalog
	for scope, want := range map[Scope]string{
		{Name: "unikernel:list"}:                    "full read",
		{Name: "unikernel:create"}:                  "full",
		{Name: "monitoring:update", Explicit: true}: "",
	} {
		if got := strings.Join(c.PresetsWith(scope), " "); got != want {
			t.Errorf("%s: got presets %q, want %q", scope.Name, got, want)
		}
	}
	presets := maps.Clone(c.Presets)
	if _, err := c.check(Grants{"unikernel:list", "block:list"}); err != nil || !reflect.DeepEqual(presets, c.Presets) {
		t.Errorf("check changed the catalog or returned an error: %v", err)
	}
}
