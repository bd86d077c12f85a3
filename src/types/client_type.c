/*
 * client_type.c
 *	  What stands for an encrypted type; see client_type.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/transam.h"
#include "keys/keys.h"
#include "types/client_type.h"
#include "types/modifier_registry.h"
#include "types/types.h"
#include "utils/lsyscache.h"

Oid
dp_client_encrypted_type(Oid type, int32 *typmod, bool *is_array)
{
	Oid			element;

	*is_array = false;
	if (type < FirstNormalObjectId)
		return InvalidOid;
	if (dp_type_is_encrypted(type))
		return type;
	type = getBaseTypeAndTypmod(type, typmod);
	element = get_element_type(type);
	if (OidIsValid(element))
	{
		*is_array = true;
		type = getBaseTypeAndTypmod(element, typmod);
	}
	return dp_type_is_encrypted(type) ? type : InvalidOid;
}

int32
dp_client_base_modifier(Oid type, int32 typmod)
{
	const DpModifier *modifier;

	if (typmod < 0 || dp_modifier_words(typmod) == NULL)
		return -1;
	modifier = dp_modifier_get(typmod);
	return modifier->type == type ? modifier->base_typmod : -1;
}

bool
dp_client_reveals(int32 typmod)
{
	const DpFamily *family;

	if (dp_modifier_words(typmod) == NULL)
		return false;
	family = dp_keys_family_find(NameStr(dp_modifier_get(typmod)->key));
	return family != NULL && dp_access_privilege(family->family) == DP_PRIV_REVEAL;
}
