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
 * A wrapped key is that of dp_key_wrap(), authenticated together with
 *		database uid 16 | key id 8, big endian | version 4, big endian | purpose 2, big endian
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/provider.h"
#include "miscadmin.h"

#define CONTEXT_LEN (16 + 8 + 4 + 2)

static void
put_big_endian(uint8 *out, uint64 value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8) (value >> (8 * (bytes - 1 - i)));
}

static void
serialize_context(const DpKmsContext *context, uint8 out[CONTEXT_LEN])
{
	memcpy(out, context->database_uid, 16);
	put_big_endian(out + 16, context->key_id, 8);
	put_big_endian(out + 24, (uint32) context->version, 4);
	put_big_endian(out + 28, (uint16) context->purpose, 2);
}

static void
fail_config(DpKmsCall *call, const char *detail)
{
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "%s", detail);
}

/* True where the file lies below the data directory, symbolic links resolved. */
static bool
in_data_directory(const char *path)
{
	char		file[PATH_MAX];
	char		data[PATH_MAX];
	size_t		data_len;

	/* What cannot be resolved cannot be shown to lie outside. */
	if (realpath(path, file) == NULL || realpath(DataDir, data) == NULL)
		return true;
	data_len = strlen(data);
	return strncmp(file, data, data_len) == 0 && file[data_len] == '/';
}

/*
 * Read the root key.  The checks are made on the open file, so that nothing can
 * be swapped between check and use.
 */
static bool
read_root(DpKmsCall *call, uint8 root[DP_KEY_LEN])
{
	const char *path = call->uri->name;
	struct stat st;
	size_t		got = 0;
	int			fd;

	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno == ELOOP)
			fail_config(call, "The key file is a symbolic link.");
		else
			dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
							 "The key file could not be opened: %s.", strerror(errno));
		return false;
	}

	if (fstat(fd, &st) != 0)
		fail_config(call, "The key file could not be examined.");
	else if (!S_ISREG(st.st_mode))
		fail_config(call, "The key file is not a regular file.");
	else if (st.st_uid != geteuid())
		fail_config(call, "The key file does not belong to the user that runs the server.");
	else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The key file has permissions %04o; group and others must have none (chmod 0600).",
						 (unsigned int) (st.st_mode & 07777));
	else if (st.st_size != DP_KEY_LEN)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The key file has %lld bytes instead of %d (openssl rand -out PATH 32).",
						 (long long) st.st_size, DP_KEY_LEN);
	else if (in_data_directory(path))
		fail_config(call, "The key file lies inside the data directory, and with it in every base backup.");
	else
	{
		while (got < DP_KEY_LEN)
		{
			ssize_t		n = read(fd, root + got, DP_KEY_LEN - got);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			got += n;
		}
		if (got < DP_KEY_LEN)
			fail_config(call, "The key file could not be read.");
	}

	close(fd);
	if (got < DP_KEY_LEN)
		dp_secret_wipe(root, DP_KEY_LEN);
	return got == DP_KEY_LEN;
}

static void
file_wrap(DpKmsCall *call)
{
	uint8		root[DP_KEY_LEN];
	uint8		context[CONTEXT_LEN];

	if (!read_root(call, root))
		return;
	serialize_context(call->context, context);
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
	serialize_context(call->context, context);
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
