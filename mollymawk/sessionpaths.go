package mollymawk

// sessionPaths returns the paths that Mollymawk serves only to browser sessions, and the
// sign-in paths. Some of them look as if they accept tokens.
func sessionPaths() []string {
	return []string{
		"/account",
		"/account/password/update",
		"/admin/albatross/errors",
		"/admin/settings/albatross",
		"/admin/settings/email",
		"/admin/u/policy/edit",
		"/admin/user/policy",
		"/admin/user/profile",
		"/admin/user/unikernels",
		"/admin/users",
		"/albatross/instances",
		"/api/account/session/close",
		"/api/account/sessions/close",
		"/api/admin/albatross/retry",
		"/api/admin/settings/albatross/create",
		"/api/admin/settings/albatross/delete",
		"/api/admin/settings/albatross/update",
		"/api/admin/settings/email/test",
		"/api/admin/settings/email/update",
		"/api/admin/u/policy/update",
		"/api/admin/user/account/delete",
		"/api/admin/user/activate/toggle",
		"/api/admin/user/admin/toggle",
		"/api/login",
		"/api/register",
		"/api/tokens/create",
		"/api/tokens/delete",
		"/api/tokens/update",
		"/auth/verify",
		"/blocks",
		"/dashboard",
		"/logout",
		"/select/instance",
		"/sign-in",
		"/sign-up",
		"/tokens",
		"/unikernel/console",
		"/unikernel/deploy",
		"/unikernel/info",
		"/unikernel/update",
		"/unikernel/update/compare-changes",
		"/usage",
		"/verify-email",
		"/volumes",
	}
}

// keyPaths returns the paths of Mollymawk's own API key page and of the calls that create
// keys or change their expiry. The path for deleting keys isn't included, so users can
// still delete keys.
func keyPaths() []string { return []string{"/api/tokens/create", "/api/tokens/update", "/tokens"} }
