import { statfs } from 'node:fs/promises';

/** File systems on which no event tells of a change that another machine makes; by the number that statfs gives. */
const remoteFileSystems: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
]);

/** The name of the file system, when changes made elsewhere cannot be heard of; null: they can, or it cannot be told. */
export async function remoteFileSystem(path: string): Promise<string | null> {
  const { type } = await statfs(path).catch(() => ({ type: 0 }));
  return remoteFileSystems.get(type) ?? null;
}
