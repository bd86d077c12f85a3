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
 * Beside it, in PATH.ed25519, is the seed of an Ed25519 key that signs, 32 random
 * bytes as well; it is made when it is first needed and the root is there.
 *
 * Destruction overwrites both and removes them.  What a file system, a disk or a
 * backup keeps of the old blocks is not in our hands; the root was read from a file,
 * so whoever copied that has it.
 *
 * A wrapped key is that of dp_key_wrap(), authenticated together with the
 * context (dp_kms_context_bytes).
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "kms/provider.h"
#include "kms/secret_file.h"

#define CONTEXT_LEN DP_KMS_CONTEXT_LEN
#define SEED_SUFFIX	".ed25519"

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

/* ---- the key that signs ---- */

static bool
seed_path(DpKmsCall *call, char *out, Size out_size)
{
	if (snprintf(out, out_size, "%s%s", call->uri->name, SEED_SUFFIX) < out_size)
		return true;
	dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR, "The path of the key file is too long.");
	return false;
}

/* What was made or removed in a file's folder is there, or gone, after a crash. */
static bool
sync_folder(const char *path)
{
	char		folder[MAXPGPATH];
	char	   *slash;
	int			fd;
	bool		ok;

	strlcpy(folder, path, sizeof(folder));
	slash = strrchr(folder, '/');
	slash[slash == folder ? 1 : 0] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* All of the bytes at the file's start, on the disk. */
static bool
write_whole(int fd, const uint8 *bytes, Size len)
{
	for (Size done = 0; done < len;)
	{
		ssize_t		n = pwrite(fd, bytes + done, len - done, done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += n;
	}
	return fsync(fd) == 0;
}

/* A file is there in whole or not at all: made beside its name, then linked to it. */
static bool
make_file(DpKmsCall *call, const char *path, const char *what)
{
	char		fresh[MAXPGPATH];
	uint8		seed[DP_KEY_LEN];
	bool		ok = false;
	int			fd;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	(void) unlink(fresh);		/* of a predecessor that died */
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd >= 0)
	{
		ok = dp_random_key(seed, sizeof(seed)) && write_whole(fd, seed, sizeof(seed)) &&
			(link(fresh, path) == 0 || errno == EEXIST) && sync_folder(path);
		dp_secret_wipe(seed, sizeof(seed));
		close(fd);
		(void) unlink(fresh);
	}
	if (!ok)
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The %s could not be made: %s.", what, strerror(errno));
	return ok;
}

/* The seed, made where there is a root and no seed yet.  The caller wipes it. */
static bool
read_seed(DpKmsCall *call, uint8 seed[DP_KEY_LEN])
{
	char		path[MAXPGPATH];
	uint8		root[DP_KEY_LEN];
	struct stat st;

	if (!seed_path(call, path, sizeof(path)))
		return false;
	if (lstat(path, &st) != 0 && errno == ENOENT)
	{
		bool		there = read_root(call, root);

		dp_secret_wipe(root, sizeof(root));
		if (!there || !make_file(call, path, "file of the key that signs"))
			return false;
	}
	return dp_secret_file_read(call, path, "file of the key that signs", seed, DP_KEY_LEN, DP_KEY_LEN) == DP_KEY_LEN;
}

static void
file_public_key(DpKmsCall *call)
{
	uint8		seed[DP_KEY_LEN];
	uint8		point[DP_ED25519_PUBLIC_LEN];
	uint8		key[DP_KMS_PUBLIC_KEY_MAX];
	size_t		len = sizeof(key);

	if (!read_seed(call, seed))
		return;
	if (!dp_ed25519_public(seed, point) || !dp_public_key_ed25519(point, key, &len) ||
		!dp_kms_call_public_key(call, key, (int) len))
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INTERNAL_ERROR,
						 "The cryptographic library could not read the key that signs.");
	dp_secret_wipe(seed, sizeof(seed));
}

static void
file_sign(DpKmsCall *call)
{
	uint8		seed[DP_KEY_LEN];

	if (!read_seed(call, seed))
		return;
	if (dp_ed25519_sign(seed, call->digest, DP_KMS_DIGEST_LEN, call->signature->signature))
	{
		call->signature->len = DP_ED25519_SIGNATURE_LEN;
		call->status = DP_KMS_OK;
	}
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_INTERNAL_ERROR,
						 "The cryptographic library could not sign.");
	dp_secret_wipe(seed, sizeof(seed));
}

/* ---- state and end ---- */

/* A folder that is not there may be a disk that is not mounted: no proof of anything. */
static void
file_state(DpKmsCall *call)
{
	char		folder[MAXPGPATH];
	struct stat st;
	char	   *slash;
	int			result = lstat(call->uri->name, &st);
	int			reason = errno;

	if (result == 0)
	{
		dp_kms_call_root(call, S_ISREG(st.st_mode) ? DP_KMS_ROOT_ENABLED : DP_KMS_ROOT_UNKNOWN, 0, NULL);
		return;
	}
	strlcpy(folder, call->uri->name, sizeof(folder));
	slash = strrchr(folder, '/');
	slash[slash == folder ? 1 : 0] = '\0';
	if (reason == ENOENT && stat(folder, &st) == 0)
		dp_kms_call_root(call, DP_KMS_ROOT_DELETED, 0, NULL);
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The key file could not be looked for: %s.", strerror(reason));
}

/* Overwrite a file's bytes, then its name.  True where nothing is left. */
static bool
shred(const char *path)
{
	struct stat st;
	uint8		noise[DP_KEY_LEN];
	bool		ok = true;
	int			fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT;
	ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t) sizeof(noise) &&
		dp_random_key(noise, sizeof(noise)) && write_whole(fd, noise, sizeof(noise));
	memset(noise, 0, sizeof(noise));
	ok = ok && write_whole(fd, noise, sizeof(noise));
	close(fd);
	return ok && unlink(path) == 0 && sync_folder(path);
}

static void
file_destroy(DpKmsCall *call)
{
	uint8		root[DP_KEY_LEN];
	char		path[MAXPGPATH];
	bool		ours = read_root(call, root);

	dp_secret_wipe(root, sizeof(root));
	if (!ours || !seed_path(call, path, sizeof(path)))
		return;
	/* The root goes last: a crash before it leaves something to repeat. */
	if (shred(path) && shred(call->uri->name))
		call->status = DP_KMS_OK;
	else
		dp_kms_call_fail(call, DP_KMS_REFUSED, ERRCODE_CONFIG_FILE_ERROR,
						 "The key file could not be overwritten and removed.");
}

static void
file_make(DpKmsCall *call)
{
	uint8		root[DP_KEY_LEN];
	struct stat st;

	if (lstat(call->uri->name, &st) != 0 && errno == ENOENT && !make_file(call, call->uri->name, "key file"))
		return;
	if (read_root(call, root))
		call->status = DP_KMS_OK;
	dp_secret_wipe(root, sizeof(root));
}

static void
file_begin(DpKmsCall *call)
{
	switch (call->operation)
	{
		case DP_KMS_OP_WRAP:
			file_wrap(call);
			break;
		case DP_KMS_OP_UNWRAP:
			file_unwrap(call);
			break;
		case DP_KMS_OP_PUBLIC_KEY:
			file_public_key(call);
			break;
		case DP_KMS_OP_SIGN:
			file_sign(call);
			break;
		case DP_KMS_OP_STATE:
			file_state(call);
			break;
		case DP_KMS_OP_DESTROY:
			file_destroy(call);
			break;
		case DP_KMS_OP_MAKE:
			file_make(call);
			break;
	}
}

const DpKmsProvider dp_kms_provider_file = {
	.name = "file",
	.begin = file_begin,
};
