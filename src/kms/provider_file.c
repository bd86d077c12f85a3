/*
 * provider_file.c
 *	  file:///PATH: the root key is 32 random bytes in a file.
 *
 * The embedded default for one machine and for tests.  It protects disks,
 * backups and dumps that do not contain the file; it never protects against a
 * superuser, who is the server's operating-system user.
 *
 * The file is read for every call and its bytes are wiped after it, so that a
 * file taken away stops fetches at once.  Reading is synchronous: a file on a
 * network file system that hangs makes the agent hang.
 *
 * A wrapped key is that of dp_key_wrap(), authenticated together with the
 * context (dp_kms_context_bytes).
 */
#include "postgres.h"

#include "base/secret.h"
#include "kms/provider.h"
#include "kms/secret_file.h"

#define CONTEXT_LEN DP_KMS_CONTEXT_LEN

static bool
read_root(DpKmsCall *call, uint8 root[DP_KEY_LEN])
{
	return dp_secret_file_read(call, call->uri->name, "key file", root, DP_KEY_LEN, DP_KEY_LEN) == DP_KEY_LEN;
}

static void
file_wrap(DpKmsCall *call)
{
	uint8		root[DP_KEY_LEN];
	uint8		context[CONTEXT_LEN];

	if (!read_root(call, root))
		return;
	dp_kms_context_bytes(call->context, context);
	if (dp_key_wrap(root, context, sizeof(context), call->key, call->blob.data))
	{
		call->blob.len = DP_WRAPPED_LEN;
		call->status = DP_KMS_OK;
	}
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INTERNAL_ERROR,
						 "The cryptographic library could not wrap the key.");
	dp_secret_wipe(root, sizeof(root));
}

static void
file_unwrap(DpKmsCall *call)
{
	uint8		root[DP_KEY_LEN];
	uint8		context[CONTEXT_LEN];

	if (!read_root(call, root))
		return;
	dp_kms_context_bytes(call->context, context);
	if (dp_key_unwrap(root, context, sizeof(context), call->blob.data, call->blob.len, call->key))
		call->status = DP_KMS_OK;
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_DATA_CORRUPTED,
						 "The wrapped key does not open under this key file.");
	dp_secret_wipe(root, sizeof(root));
}

const DpKmsProvider dp_kms_provider_file = {
	.name = "file",
	.wrap = file_wrap,
	.unwrap = file_unwrap,
};
