package gate

import "testing"

func TestCheckKeysPage(t *testing.T) {
	paths := []string{"/tokens"}
	for page, good := range map[string]bool{
		"https://keys.example.com":        true,
		"http://127.0.0.1:8080/a?b=c#d":   true,
		"/keys":                           true,
		"/":                               true,
		"/tokens/new":                     true,
		"https://keys.example.com/tokens": true,
		"/tokens":                         false,
		"/tokens?x=y":                     false,
		"":                                false,
		"keys":                            false,
		"//keys.example.com/":             false,
		"/\\keys.example.com/":            false,
		"https:///keys":                   false,
		"https:keys":                      false,
		"ftp://keys.example.com/":         false,
		"javascript:alert(1)":             false,
		"https://a@keys.example.com/":     false,
		"https://keys.example.com/ü":      false,
		"https://keys.example.com/\r\nX":  false,
		"https://keys.example.com/%zz":    false,
	} {
		if err := CheckKeysPage(page, paths); (err == nil) != good {
			t.Errorf("%q: got error %v, want valid %v", page, err, good)
		}
	}
}
